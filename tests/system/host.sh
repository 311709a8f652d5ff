# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A private host within the machine: its own D-Bus, virtlogd and libvirtd, with
# folders of their own in the places that libvirtd has no option for, in a
# mount and a process namespace.  What is there already is neither seen nor
# touched, and all of it ends with the namespace.
#
#   host_enter WORDS...   run WORDS inside; --net: with a network of its own
#   host_start FOLDER     inside: bring D-Bus, virtlogd and libvirtd up
#   host_config FOLDER    write FOLDER/vprovd.conf and the folders it names
#   host_stop             inside: guests, libvirtd, D-Bus end

# The namespace dies with the caller (--pdeathsig), and everything in it with
# its first process (--kill-child): nothing survives a kill -9.  In the
# background "host_exec=exec" leaves no shell between the two.
host_enter ()
{
  local net=()
  if [ "$1" = --net ]; then
    net=(--net)
    shift
  fi
  ${host_exec:-} setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL \
    --mount-proc "${net[@]}" -- "$@"
}

host_mounts ()
{
  local folder=$1
  mkdir -p "$folder"/{run/dbus,run/lock,lib,cache,log,etc-libvirt/qemu}
  mkdir -p "$folder"/lib/{libvirt,misc} "$folder"/cache/libvirt
  chmod 755 "$folder"/{run,lib,cache,log,etc-libvirt}
  # The lock of iptables-legacy stays the machine's where there is one and
  # the network is the machine's, too.
  if [ -e /run/xtables.lock ] && [ -z "${VP_PRIVATE_NET:-}" ]; then
    : > "$folder/run/xtables.lock"
    mount --bind /run/xtables.lock "$folder/run/xtables.lock"
  fi
  mkdir -p /etc/libvirt /var/log/libvirt /var/cache
  mount --rbind "$folder/run" /run
  mount --bind "$folder/lib" /var/lib
  mount --bind "$folder/cache" /var/cache
  mount --bind "$folder/log" /var/log/libvirt
  mount --bind "$folder/etc-libvirt" /etc/libvirt
  # Links are shown by the sysfs of their own network namespace.
  if [ -n "${VP_PRIVATE_NET:-}" ]; then
    mount -t sysfs sysfs /sys
    ip link set lo up
  fi
}

# Debian's libvirtd does not start without the user it was built for, which
# only libvirt-daemon-system makes: here it exists in this namespace alone.
host_users ()
{
  local folder=$1 name=libvirt-qemu
  if getent passwd "$name" > /dev/null || [ ! -e /etc/debian_version ]; then
    return
  fi
  cp /etc/passwd /etc/group "$folder/etc-libvirt/"
  echo "$name:x:64055:64055::/nonexistent:/usr/sbin/nologin" \
    >> "$folder/etc-libvirt/passwd"
  echo "$name:x:64055:" >> "$folder/etc-libvirt/group"
  mount --bind "$folder/etc-libvirt/passwd" /etc/passwd
  mount --bind "$folder/etc-libvirt/group" /etc/group
}

host_write_files ()
{
  local folder=$1 user=+65534 name
  for name in libvirt-qemu qemu; do
    if getent passwd "$name" > /dev/null; then
      user=$name
      break
    fi
  done
  cat > "$folder/etc-libvirt/libvirtd.conf" <<EOF
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
EOF
  # No cgroups and no labels: both would be seen outside.
  cat > "$folder/etc-libvirt/qemu.conf" <<EOF
user = "$user"
group = "$(getent group kvm > /dev/null && echo kvm || echo +65534)"
cgroup_controllers = [ ]
security_driver = "none"
EOF
  cat > "$folder/dbus.conf" <<EOF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow own="org.vprovd1"/>
  </policy>
  <policy context="default">
    <allow send_destination="org.vprovd1"/>
  </policy>
</busconfig>
EOF
}

host_libvirt_answers () { virsh -q -c qemu:///system version; }

host_start ()
{
  local folder=$1
  host_mounts "$folder"
  host_users "$folder"
  host_write_files "$folder"
  export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket
  dbus-daemon --config-file="$folder/dbus.conf" --fork --nopidfile --nosyslog
  virtlogd -d -p /run/virtlogd.pid
  libvirtd -d -p /run/libvirtd.pid
  wait_for 90 host_libvirt_answers
}

# Ends what would otherwise be cut off: guests first.
host_stop ()
{
  local name
  for name in $(virsh -q -c qemu:///system list --name 2> /dev/null); do
    virsh -q -c qemu:///system destroy "$name" > /dev/null 2>&1 || true
  done
  host_end_process /run/libvirtd.pid
  host_end_process /run/virtlogd.pid
}

host_end_process ()
{
  local pid
  pid=$(cat "$1" 2> /dev/null) || return 0
  kill "$pid" 2> /dev/null || return 0
  wait_for 10 fails kill -0 "$pid" || kill -9 "$pid" 2> /dev/null || true
}

# vprovd's own: everything below FOLDER, which QEMU's user must be able to
# walk through.
host_config ()
{
  local folder=$1
  chmod 711 "$folder"
  mkdir -p "$folder"/spec/{guests,networks,pools,images} "$folder"/{state,rt}
  chmod 711 "$folder/state"
  cat > "$folder/vprovd.conf" <<EOF
[Daemon]
SpecDirectories=$folder/spec
StateDirectory=$folder/state
RuntimeDirectory=$folder/rt
LibvirtUri=${VP_LIBVIRT_URI:-qemu:///system}
Bus=unix:path=$folder/run/dbus/system_bus_socket
WorkerProgram=$VP_BUILDDIR/vprov-img
WorkerUser=${VP_WORKER_USER-nobody}
RescanSec=${VP_RESCAN_SEC:-60}
ShutdownTimeoutSec=${VP_SHUTDOWN_SEC:-30}
EOF
}
