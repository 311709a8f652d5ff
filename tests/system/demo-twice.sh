#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The demo shows the page and leaves nothing: all is equal round its second
# run, on a terminal round Ctrl-C, and round one that is killed and the one
# after it.  In a network of the
# test's own; for the rest it is the machine's.
# shellcheck disable=SC2317 # check calls functions
set -u
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=tests/system/tap.sh
. "$VP_SRCDIR/tests/system/tap.sh"
# shellcheck source=tests/system/host.sh
. "$VP_SRCDIR/tests/system/host.sh"

demo () { "$VP_SRCDIR/tests/system/demo.sh" --once > "$folder/demo.log" 2>&1; }
demo_shows_page ()
{
  if demo && grep -q "<h1>vprovd works</h1>" "$folder/demo.log"; then
    return 0
  fi
  cat "$folder/demo.log"
  return 1
}

# What is on the machine, but for times and what the kernel makes by itself.
host_state ()
{
  iptables-save | grep -v '^#'
  ip6tables-save | grep -v '^#'
  ip -o link
  ip -o address
  sysctl -a 2> /dev/null | grep -E '^net\.ipv[46]\.' | grep -v fastopen_key
  ls -d "$folder"/vprovd-demo.* 2> /dev/null
  pgrep -af 'vprovd-demo|dnsmasq|qemu|libvirtd|virtlogd|dbus-daemon'
  find /etc /var/lib /var/log/libvirt -xdev -type f -exec sha256sum {} + \
    2> /dev/null | LC_ALL=C sort -k 2
}
# As a person has it: a terminal, whose Ctrl-C goes to all of its processes.
demo_till_ctrl_c ()
{
  local status=0
  "$VP_BUILDDIR/tests/system/on-terminal" 300 "Ctrl-C ends the demo" \
    "$VP_SRCDIR/tests/system/demo.sh" > "$folder/demo.log" 2>&1 || status=$?
  if [ "$status" -eq 0 ] && grep -q "everything is as it was" "$folder/demo.log"
  then
    return 0
  fi
  echo "exit status $status"
  cat "$folder/demo.log"
  return 1
}
demo_is_at_work () { grep -q "what vprovd does about it" "$folder/demo.log"; }
namespace_is_gone () { ! pgrep -f "demo.sh --inside"; }

inside ()
{
  local killed
  ip link set lo up
  check "a demo shows its page" demo_shows_page || exit
  host_state > "$folder/before"
  check "a second one, too" demo_shows_page
  host_state > "$folder/after"
  check "and leaves nothing" diff "$folder/before" "$folder/after"

  check "on a terminal Ctrl-C ends it, and well" demo_till_ctrl_c
  host_state > "$folder/after"
  check "and leaves nothing" diff "$folder/before" "$folder/after"

  : > "$folder/demo.log"
  "$VP_SRCDIR/tests/system/demo.sh" --once > "$folder/demo.log" 2>&1 &
  killed=$!
  check "one more works" wait_for 60 demo_is_at_work
  kill -9 "$killed"
  wait "$killed" 2> /dev/null
  check "a kill -9 takes its processes with it" wait_for 10 namespace_is_gone
  check "the next one clears away what it left" demo_shows_page
  check "and says so" grep -q "clearing away" "$folder/demo.log"
  host_state > "$folder/after"
  check "and leaves nothing" diff "$folder/before" "$folder/after"
  tap_done
}

if [ "${1:-}" = --inside ]; then
  folder=$2
  export VP_DEMO_FOLDERS=$folder
  inside
  exit
fi
[ "$(id -u)" -eq 0 ] || skip_all "needs root"
for name in libvirtd virtlogd qemu-system-x86_64 dbus-daemon busybox dnsmasq; do
  command -v "$name" > /dev/null || skip_all "$name is not installed"
done
folder=$(mktemp -d /tmp/vprovd-test.XXXXXX)
chmod 711 "$folder"
trap 'rm -rf "$folder"' EXIT
trap 'exit 99' INT TERM HUP
status=0
host_enter --net "$0" --inside "$folder" || status=$?
exit "$status"
