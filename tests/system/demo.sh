#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# demo.sh [--once]: one guest from a spec to a web page, on this machine, and
# then everything as it was.  Run by ./bootstrap demo, which builds first.
#
# D-Bus, libvirtd and vprovd run in namespaces of their own (host.sh) over one
# folder below /tmp; only the network is the machine's, since the page is to be
# had through a port of the machine.  What the network keeps after a kill -9
# (a bridge, rules, sysctls) is known by that folder, and the next demo clears
# it away.
set -eu -o pipefail

here=$(dirname "$(readlink -f "$0")")
: "${VP_SRCDIR:=$(readlink -f "$here/../..")}"
: "${VP_BUILDDIR:=$VP_SRCDIR/build}"
export VP_SRCDIR VP_BUILDDIR
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=tests/system/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/system/host.sh
. "$here/host.sh"

guest=demo-web
# Tests have a place of their own: what lies in /tmp is the machine's network's.
folders=${VP_DEMO_FOLDERS:-/tmp}

say () { printf '==> %s\n' "$*"; }
die () { printf 'demo: %s\n' "$*" >&2; exit 1; }

vprovd () { "$VP_BUILDDIR/vprovd" --config="$folder/vprovd.conf" "$@"; }
vprovctl ()
{
  "$VP_BUILDDIR/vprovctl" --no-pager \
    --bus="unix:path=$folder/run/dbus/system_bus_socket" "$@"
}

# ---- outside: before and after -------------------------------------------

# Nothing of the folder's processes is left when this is called: they ended
# with their namespace.  Process ids in it mean others now.
clear_away ()
{
  folder=$1
  rm -rf "$folder"/rt/*.pid "$folder"/rt/dnsmasq/*.pid
  if [ -e "$folder/vprovd.conf" ]; then
    vprovd --teardown > "$folder/teardown.log" 2>&1 ||
      { cat "$folder/teardown.log" >&2; return 1; }
  fi
  rm -rf "$folder"
}

# A demo holds the lock in its folder while it runs.
clear_leftovers ()
{
  local old
  while read -r old; do
    exec 8< "$old"
    flock -n 8 || die "another demo is running (its folder is $old)"
    # Processes of a killed one may still be ending.
    wait_for 10 fails pgrep -f "demo.sh --inside $old " ||
      die "a demo is still running in $old"
    say "clearing away what an interrupted demo left in $old"
    clear_away "$old" || die "could not clear away $old"
    exec 8<&-
  done < <(find "$folders" -maxdepth 1 -type d -user root -name 'vprovd-demo.*')
}

refuse_beside_vprovd ()
{
  if { iptables-save; ip -o link; } 2> /dev/null |
       grep -qE '^:VPROV-|^[0-9]+: vp-'; then
    die "a vprovd runs on this machine and its networks are here already:
drop a file into its guests folder instead (see README)"
  fi
}

free_port ()
{
  local port=8080
  while [ -n "$(ss -Hltn "sport = :$port")" ]; do
    port=$((port + 1))
  done
  echo "$port"
}

end_outside ()
{
  trap '' INT TERM HUP
  touch "$folder/quit"
  [ -z "$inside" ] || wait "$inside" || true
  if [ -n "${VP_DEMO_KEEP_LOG:-}" ]; then
    cp "$folder/vprovd.log" "$VP_DEMO_KEEP_LOG" || true
  fi
  clear_away "$folder"
  # Where libvirt's folders were not there before.
  [ "${#made[@]}" -eq 0 ] || rmdir "${made[@]}"
  say "everything is as it was"
}

outside ()
{
  local port status=0 place
  [ "$(id -u)" -eq 0 ] || die "needs root"
  clear_leftovers
  refuse_beside_vprovd

  folder=$(mktemp -d "$folders/vprovd-demo.XXXXXX")
  chmod 711 "$folder"
  exec 9< "$folder"
  flock 9
  inside='' made=()
  trap end_outside EXIT
  trap 'touch "$folder/quit"' INT TERM HUP
  for place in /var/log/libvirt /etc/libvirt; do
    [ -d "$place" ] || { mkdir -m 755 "$place"; made+=("$place"); }
  done

  port=$(free_port)
  say "making a small guest: a kernel, busybox, and a disk with one page"
  "$here/make-guest.sh" "$folder/guest"
  "$VP_BUILDDIR/vprov-img" convert -f raw -O qcow2 \
    "$folder/guest/disk.raw" "$folder/base.qcow2"
  chmod 444 "$folder/base.qcow2"
  VP_WORKER_USER=nobody host_config "$folder"

  host_exec='exec'
  host_enter "$0" --inside "$folder" "$port" "$1" 9<&- &
  inside=$!
  # A signal ends a wait (with a status above 128), not the inside, which then
  # ends in order and has the last word.
  while status=0; wait "$inside" || status=$?; [ "$status" -gt 128 ]; do
    :
  done
  inside=''
  return "$status"
}

# ---- inside: the namespaces ------------------------------------------------

quitting () { [ -e "$folder/quit" ]; }

# wait_for, but given up when the demo is to end.
await ()
{
  local end=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    quitting && return 1
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

end_inside ()
{
  local pid
  if [ -n "${daemon:-}" ]; then
    kill "$daemon" 2> /dev/null || true
    wait "$daemon" 2> /dev/null || true
  fi
  for pid in "$folder"/rt/dnsmasq/*.pid; do
    [ -e "$pid" ] && host_end_process "$pid"
  done
  host_stop
}

trouble ()
{
  if ! quitting; then
    say "that did not work; the daemon's last words:"
    tail -n 25 "$folder/vprovd.log" 2> /dev/null || true
    vprovctl status "$guest" 2>&1 || true
  fi
  exit 1
}

write_spec ()
{
  cat > "$folder/spec/images/$guest.xml" <<EOM
<image path="$folder/base.qcow2" format="qcow2"/>
EOM
  cat > "$folder/$guest.xml" <<EOM
<guest>
  <description>The demo's web server</description>
  <memory>256M</memory>
  <kernel image="$folder/guest/vmlinuz" initrd="$folder/guest/initrd"
          cmdline="console=ttyS0 quiet"/>
  <disk name="root" from="$guest" size="64M"/>
  <nic network="default"><forward port="$port" to="80"/></nic>
</guest>
EOM
  # As an editor does: a name that does not count, then the right one.
  cp "$folder/$guest.xml" "$folder/spec/guests/.$guest.xml.new"
  mv "$folder/spec/guests/.$guest.xml.new" "$folder/spec/guests/$guest.xml"
}

inside ()
{
  local once=$1 url=http://127.0.0.1:$port/ start monitor
  trap '' INT
  trap end_inside EXIT
  say "starting a D-Bus and a libvirtd of the demo's own"
  host_start "$folder" || die "libvirtd did not come up"
  say "starting vprovd"
  # A session of its own: Ctrl-C would end it before the demo has seen it.
  setsid "$VP_BUILDDIR/vprovd" --config="$folder/vprovd.conf" \
    > "$folder/vprovd.log" 2>&1 &
  daemon=$!
  await 30 vprovctl list || trouble

  say "dropping this into guests/$guest.xml:"
  start=$SECONDS
  vprovctl monitor > "$folder/monitor.log" 2>&1 &
  monitor=$!
  write_spec
  sed 's/^/    /' "$folder/$guest.xml"
  say "what vprovd does about it:"
  tail -n +1 -s 0.2 --pid=$monitor -f "$folder/monitor.log" | sed -u 's/^/    /' &
  await 120 vprovctl status "$guest" || trouble
  say "the guest runs after $((SECONDS - start)) s; its kernel boots now"
  await 120 has "vprovd works" curl -s -m 3 "$url" || trouble
  kill "$monitor" 2> /dev/null || true
  say "$url answered after $((SECONDS - start)) s:"
  curl -s -m 10 "$url" | sed 's/^/    /'
  say "vprovctl status; vprovctl status $guest"
  { vprovctl status && echo && vprovctl status "$guest"; } | sed 's/^/    /'
  [ -z "$once" ] || return 0
  say "open $url, or look with
    $VP_BUILDDIR/vprovctl --bus=unix:path=$folder/run/dbus/system_bus_socket list
Ctrl-C ends the demo and removes all it made."
  until quitting; do
    kill -0 "$daemon" 2> /dev/null || trouble
    sleep 0.5
  done
}

case ${1:-} in
  --inside)
    folder=$2 port=$3
    inside "$4"
    ;;
  --once) outside once ;;
  '') if [ -t 1 ]; then outside ''; else outside once; fi ;;
  *) die "usage: demo.sh [--once]" ;;
esac
