# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the end-to-end scripts share: each runs in namespaces of its own, with a
# network of its own, a private libvirtd and a vprovd, in one folder that is
# gone afterwards.
#
#   system_enter "$@"   outside: goes inside and ends; inside: returns with
#                       everything but vprovd up
#   vprovd_start, vprovd_stop, vprovd_kill
#   ctl WORDS...        vprovctl
#   drop KIND NAME      a spec from standard input, by rename
#
# Variables: folder, log (vprovd's), uplink (the host's address on a link to
# the network namespace "outside", where the clients are).

PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=tests/system/tap.sh
. "$VP_SRCDIR/tests/system/tap.sh"
# shellcheck source=tests/system/host.sh
. "$VP_SRCDIR/tests/system/host.sh"
export VP_PRIVATE_NET=1

uplink=10.99.0.1

system_enter ()
{
  local status=0 name
  if [ "${1:-}" = --inside ]; then
    folder=$2
    log=$folder/vprovd.log
    system_inside
    return
  fi
  [ "$(id -u)" -eq 0 ] || skip_all "needs root"
  for name in libvirtd virtlogd qemu-system-x86_64 dbus-daemon busybox dnsmasq \
              iptables-restore; do
    command -v "$name" > /dev/null || skip_all "$name is not installed"
  done
  folder=$(mktemp -d /tmp/vprovd-test.XXXXXX)
  trap 'rm -rf "$folder"' EXIT
  trap 'exit 99' INT TERM HUP
  host_enter --net "$0" --inside "$folder" || status=$?
  exit "$status"
}

system_inside ()
{
  trap system_exit EXIT
  host_start "$folder" || bail_out "libvirtd did not come up"
  host_config "$folder"
  # Clients come from another namespace over a link of ours.
  ip netns add outside
  ip link add up0 type veth peer name eth0 netns outside
  ip address add "$uplink/24" dev up0
  ip link set up0 up
  ip -n outside address add 10.99.0.2/24 dev eth0
  ip -n outside link set lo up
  ip -n outside link set eth0 up
  "$VP_SRCDIR/tests/system/make-guest.sh" "$folder/guest" ||
    bail_out "no guest could be made"
  "$VP_BUILDDIR/vprov-img" convert -f raw -O qcow2 \
    "$folder/guest/disk.raw" "$folder/base.qcow2" ||
    bail_out "no base image could be made"
  chmod 444 "$folder/base.qcow2"
  drop images web <<EOM
<image path="$folder/base.qcow2" format="qcow2"/>
EOM
}

system_exit ()
{
  if [ "$tap_failed" -gt 0 ]; then
    note "vprovd's log ends:"
    tail -n 60 "$log" | sed 's/^/# /'
  fi
}

# check runs what it checks in a subshell: the process is known by a file.
vprovd_start ()
{
  "$VP_BUILDDIR/vprovd" --config="$folder/vprovd.conf" >> "$log" 2>&1 &
  echo "$!" > "$folder/vprovd.pid"
  wait_for 20 ctl list
}

vprovd_end ()
{
  local pid
  pid=$(cat "$folder/vprovd.pid")
  kill "$1" "$pid"
  wait_for 30 fails kill -0 "$pid"
}
vprovd_stop () { vprovd_end -TERM; }
vprovd_kill () { vprovd_end -KILL; }

ctl ()
{
  "$VP_BUILDDIR/vprovctl" \
    --bus="unix:path=$folder/run/dbus/system_bus_socket" "$@"
}
vsh () { virsh -q -c qemu:///system "$@"; }
img () { timeout 20 qemu-img "$@"; }

drop ()
{
  local file=$folder/spec/$1/$2.xml
  cat > "$folder/spec/$1/.$2.new"
  mv "$folder/spec/$1/.$2.new" "$file"
}

# web_spec NAME PORT [LINE...]: the Linux guest; LINEs are added to it.
web_spec ()
{
  local name=$1 port=$2
  shift 2
  cat <<EOM
<guest accel="tcg">
  <memory>192M</memory>
  <kernel image="$folder/guest/vmlinuz" initrd="$folder/guest/initrd"
          cmdline="console=ttyS0 quiet vp.rw"/>
  <disk name="root" from="web" size="32M"/>
  <nic network="default">
    <forward port="$port" to="80"/>
$(printf '    %s\n' "${nic_lines[@]}")
  </nic>
$(printf '  %s\n' "$@")
</guest>
EOM
}
nic_lines=()

page () { curl -s -m 5 "http://$1/${2:-}"; }
page_outside () { ip netns exec outside curl -s -m 5 "http://$1/${2:-}"; }

guest_is () { [ "$(vsh domstate "$1" 2>&1)" = "$2" ]; }
qemu_pid () { cat "/run/libvirt/qemu/$1.pid" 2> /dev/null || echo none; }

# property NAME PROPERTY: a guest's, as busctl prints it.
property ()
{
  busctl --address="unix:path=/run/dbus/system_bus_socket" get-property \
    org.vprovd1 "/org/vprovd1/guest/${1//-/_2d}" org.vprovd1.Guest "$2"
}
manager_property ()
{
  busctl --address="unix:path=/run/dbus/system_bus_socket" get-property \
    org.vprovd1 /org/vprovd1 org.vprovd1.Manager "$1"
}
property_is () { has "\"$3\"" property "$1" "$2"; }
# Nothing runs and nothing is left to do.
settled () { ctl plan > /dev/null 2>&1; }
