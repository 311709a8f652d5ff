#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# From a file to a guest that answers, and what then happens to it: traffic,
# changes, a restart of the daemon, a stop, a crash, its file gone.
set -u
# shellcheck source=tests/system/daemon.sh
. "$VP_SRCDIR/tests/system/daemon.sh"
system_enter "$@"

before_rules=$(iptables-save | grep -v '^#')
# Those of links that come and go are not the host's; the kernel makes a key
# when somebody listens.
sysctls ()
{
  sysctl -a 2> /dev/null | grep -E '^net\.ipv[46]\.' | grep -vE '\.(vp-|vnet)|tcp_fastopen_key'
}
sysctls > "$folder/sysctls.before"

check "vprovd comes up" vprovd_start || exit

# ---- create ----------------------------------------------------------------
web_spec web 8080 | drop guests web
check "a dropped file becomes a running guest" \
  wait_check 60 guest_is web running
check "it answers over the forward, from another machine" \
  wait_check 60 has "vprovd works" page_outside "$uplink:8080"
check "from the host, by its own address" \
  has "vprovd works" page "$uplink:8080"
check "from the host, by 127.0.0.1" has "vprovd works" page 127.0.0.1:8080
check "the guest sees the client's own address" \
  has 10.99.0.2 page_outside "$uplink:8080" cgi-bin/client
check "D-Bus says running" wait_check 20 property_is web State running
check "D-Bus says synced" wait_check 20 property_is web Sync synced
check "the forward is active" has active property web Forwards
check "the status names the forward" has 8080 ctl status web
check "the domain bears our mark" \
  has 'name="web"' vsh metadata web urn:vprovd:domain:1
disk=$(vsh domblklist web | awk '{ print $2 }')
check "the disk is an overlay of our engine on the base image" \
  has "\"backing-filename\": \"$folder/base.qcow2\"" \
  img info -U --output=json "$disk"
check "of the size that the spec says" \
  has '"virtual-size": 33554432' img info -U --output=json "$disk"
check "the base image stays root's" \
  same "$(stat -c %U:%a "$folder/base.qcow2")" root:444
check "what is written stays" has kept page 127.0.0.1:8080 "cgi-bin/note?kept"
check "nothing is left to do" wait_check 20 settled

# ---- the daemon ends and comes back ----------------------------------------
pid=$(qemu_pid web)
vprovd_kill
check "kill -9: it comes back" vprovd_start
check "kill -9: nothing to do" wait_check 30 settled
vprovd_stop
check "a stop of the daemon touches no guest" has "vprovd works" page 127.0.0.1:8080
check "it starts again" vprovd_start
check "and has nothing to do" wait_check 30 settled
check "QEMU is the same process" same "$(qemu_pid web)" "$pid"

# ---- live changes ----------------------------------------------------------
nic_lines=('<forward port="8081" to="80"/>')
web_spec web 8080 '<disk name="data" size="8M"/>' | drop guests web
check "a new forward works" \
  wait_check 30 has "vprovd works" page_outside "$uplink:8081"
check "a new disk is seen by the guest" \
  wait_check 30 has vdb page 127.0.0.1:8080 cgi-bin/disks
nic_lines=()
web_spec web 8080 '<disk name="data" size="8M"/>' | drop guests web
check "a forward that is taken out is closed" \
  wait_check 30 fails page_outside "$uplink:8081"
check "all that without a restart" same "$(qemu_pid web)" "$pid"
web_spec web 8080 '<disk name="data" size="8M"/>' '<cpu count="2"/>' |
  drop guests web
check "what needs a restart waits for it" \
  wait_check 30 has true property web RestartRequired
check "and does not happen by itself" same "$(qemu_pid web)" "$pid"
web_spec web 8080 '<disk name="data" size="8M"/>' | drop guests web
check "taken back, nothing waits" \
  wait_check 30 has false property web RestartRequired

# ---- stop, power-off, crash ------------------------------------------------
check "vprovctl stop stops" ctl stop web
check "it is off" wait_check 30 guest_is web "shut off"
vprovd_stop
vprovd_start
check "a stop holds over a restart of the daemon" \
  wait_check 20 property_is web DesiredState stopped
check "it is still off" guest_is web "shut off"
check "vprovctl start starts" ctl start web
check "and it answers" wait_check 60 has "vprovd works" page 127.0.0.1:8080
check "with its data" has kept page 127.0.0.1:8080 cgi-bin/note
page 127.0.0.1:8080 cgi-bin/poweroff > /dev/null
check "a power-off from inside" wait_check 30 guest_is web "shut off"
check "is the wanted state then" \
  wait_check 20 property_is web DesiredState stopped
ctl start web > /dev/null
check "it runs again" wait_check 30 guest_is web running
pid=$(qemu_pid web)
kill -9 "$pid"
# shellcheck disable=SC2016 # expanded by the inner shell
check "a crash does not hold: another QEMU runs" wait_check 60 bash -c \
  'new=$(cat /run/libvirt/qemu/web.pid) && [ "$new" != "$0" ]' "$pid"
check "and answers" wait_check 60 has "vprovd works" page 127.0.0.1:8080
check "the crash was counted" fails property_is web NRestarts 0

# ---- the file goes, and comes back -----------------------------------------
mv "$folder/spec/guests/web.xml" "$folder/web.xml"
check "its file gone, it shuts down" wait_check 60 guest_is web "shut off"
check "its disk is kept" test -e "$disk"
check "its domain is marked retired" wait_check 20 \
  has retired vsh metadata web urn:vprovd:domain:1
check "its forward is closed" wait_check 20 fails page_outside "$uplink:8080"
mv "$folder/web.xml" "$folder/spec/guests/web.xml"
check "its file back, it answers" \
  wait_check 90 has "vprovd works" page 127.0.0.1:8080
check "with its data" has kept page 127.0.0.1:8080 cgi-bin/note

# ---- teardown ---------------------------------------------------------------
vprovd_stop
check "teardown" "$VP_BUILDDIR/vprovd" --config="$folder/vprovd.conf" --teardown
vsh destroy web
check "no rule is left" same "$(iptables-save | grep -v '^#')" "$before_rules"
check "no bridge is left" lacks vp- ip -o link
check "no dnsmasq is left" fails pgrep -x dnsmasq
sysctls > "$folder/sysctls.after"
check "sysctls are as before" \
  diff "$folder/sysctls.before" "$folder/sysctls.after"
tap_done
