#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a file may do and may not: broken ones, the same one again, another
# name, a name that is taken, a whole <domain>, a guest under KVM.
set -u
# shellcheck source=tests/system/daemon.sh
. "$VP_SRCDIR/tests/system/daemon.sh"
# Boot-sector guests: they run within a second, and hear no power button.
export VP_SHUTDOWN_SEC=2 VP_RESCAN_SEC=3
system_enter "$@"

drop images sector <<EOM
<image path="$folder/guest/boot.raw" format="raw"/>
EOM
chmod 444 "$folder/guest/boot.raw"

sector_spec ()
{
  local name=$1
  shift
  cat <<EOM
<guest accel="tcg"$guest_attributes>
  <memory>64M</memory>
  <disk name="root" from="sector" size="1M"/>
$(printf '  %s\n' "$@")
</guest>
EOM
}
guest_attributes=

check "vprovd comes up" vprovd_start || exit
good='<nic network="default"><forward port="8080" to="80"/></nic>'
sector_spec box "$good" | drop guests box
check "a guest runs" wait_check 60 guest_is box running
check "it is in sync" wait_check 20 property_is box Sync synced
pid=$(qemu_pid box)

plan_has_steps () { ctl plan "$1" > /dev/null; same "$?" 4; }

# ---- broken files ------------------------------------------------------------
# broken WORDS PLACE MESSAGE: the file from standard input is told with its
# place and a sentence in all three ways, and changes nothing.
broken ()
{
  local words=$1 place=box.xml:$2 message=$3
  : > "$log"
  drop guests box
  check "$words: the journal has the place" \
    wait_check 20 has "$place" cat "$log"
  check "$words: D-Bus says invalid" \
    wait_check 20 property_is box Sync invalid
  check "$words: and a sentence" has "$message" cat "$log"
  check "$words: vprovctl verify fails" fails ctl verify
  check "$words: and has the place" has "$place" ctl verify
  check "$words: and the sentence" has "$message" ctl verify
  check "$words: D-Bus has the sentence" has "$message" \
    manager_property Problems
  check "$words: the guest still runs" same "$(qemu_pid box)" "$pid"
  check "$words: its forward stays" has active property box Forwards
}
broken "bad XML" 3:1 "memory" <<'EOM'
<guest>
  <memory>64M
</guest>
EOM
broken "unknown element" 3:3 "nic" <<'EOM'
<guest>
  <memory>64M</memory>
  <nik network="default"/>
</guest>
EOM
broken "bad number" 2:3 "lots" <<'EOM'
<guest>
  <memory>lots</memory>
</guest>
EOM
broken "duplicate forward" 5:14 "8080" <<'EOM'
<guest>
  <memory>64M</memory>
  <nic network="default">
    <forward port="8080" to="80"/>
    <forward port="8080" to="81"/>
  </nic>
</guest>
EOM
broken "missing base" 3:21 "nothere" <<'EOM'
<guest>
  <memory>64M</memory>
  <disk name="root" from="nothere" size="1M"/>
</guest>
EOM
sector_spec box "$good" | drop guests box
check "repaired, it is in sync" wait_check 20 property_is box Sync synced
check "and nothing was restarted" same "$(qemu_pid box)" "$pid"
check "vprovctl verify is content" ctl verify

# ---- the same again is nothing -------------------------------------------------
check "nothing to do" wait_check 20 settled
marks ()
{
  find "$folder/state" "$folder/rt" "$folder/etc-libvirt" "$folder/lib" \
    -printf '%p %i %T@ %C@\n' | LC_ALL=C sort
}
nft monitor > "$folder/nft.log" 2>&1 &
nft=$!
vsh event --all --loop > "$folder/events.log" 2>&1 &
events=$!
# IPv4: the kernel gives links of guests IPv6 addresses when it likes.
ip -4 monitor link address route > "$folder/links.log" 2>&1 &
links=$!
# They listen when the kernel and libvirt show them.
# shellcheck disable=SC2016 # expanded by the inner shell
wait_for 10 bash -c 'grep -q . /proc/net/netlink &&
  ss -xp | grep -q "virsh"'
marks_before=$(marks)
last=$(manager_property LastReconcileTimestamp)
looked_again ()
{
  differ "$(manager_property LastReconcileTimestamp)" "$last"
}
cp "$folder/spec/guests/box.xml" "$folder/box.xml"
drop guests box < "$folder/box.xml"
check "the same file again: reload is content" ctl reload
check "zero steps" wait_check 20 settled
check "everything was looked at again" wait_check 90 looked_again
kill "$nft" "$events" "$links"
wait "$nft" "$events" "$links" 2> /dev/null
check "zero writes to the disk" same "$(marks)" "$marks_before"
check "zero writes to the tables" same "$(cat "$folder/nft.log")" ""
check "zero writes to libvirt" lacks "event '" cat "$folder/events.log"
check "zero writes to links" same "$(cat "$folder/links.log")" ""

# ---- KVM -------------------------------------------------------------------------
# A device that opens is enough for 16-bit code.
if { : <> /dev/kvm; } 2> /dev/null; then
  # A plain processor: a KVM without the processor's help cannot pass through
  # all of the host's.
  serial=$folder/lib/serial.log
  cat <<EOM | drop guests fast
<guest accel="kvm">
  <memory>64M</memory>
  <disk name="root" from="sector" size="1M"/>
  <libvirt into="devices" mode="append">
    <serial type="file"><source path="$serial"/><target port="1"/></serial>
  </libvirt>
  <libvirt into="domain" mode="replace">
    <cpu mode="custom" match="exact" check="none"><model>kvm64</model></cpu>
  </libvirt>
</guest>
EOM
  check "a guest under KVM runs" wait_check 60 guest_is fast running ||
    ctl status fast | sed 's/^/# /'
  check "it is told as such" wait_check 20 property_is fast Accel kvm
  check "nothing is said against it" lacks failed ctl status fast
  check "its boot sector speaks" \
    wait_check 20 has "VPROVD BOOT SECTOR" cat "$serial"
else
  skip "a guest under KVM runs" "/dev/kvm does not open"
fi

# ---- another name --------------------------------------------------------------
mv "$folder/spec/guests/box.xml" "$folder/spec/guests/crate.xml"
check "another name: the old guest ends" wait_check 120 guest_is box "shut off"
check "another name: no new disk by accident" \
  wait_check 20 property_is crate State undefined
check "another name: vprovctl plan says that there is something to do" \
  wait_check 20 plan_has_steps crate
mv "$folder/spec/guests/crate.xml" "$folder/spec/guests/box.xml"
check "the old name again: it runs" wait_check 60 guest_is box running
check "with the disk it had" test -e "$(vsh domblklist box | awk '{ print $2 }')"

# ---- a name that is taken ------------------------------------------------------
cat > "$folder/taken.xml" <<EOM
<domain type="qemu">
  <name>taken</name>
  <memory unit="MiB">64</memory>
  <os><type arch="x86_64">hvm</type></os>
  <devices><serial type="null"/></devices>
</domain>
EOM
vsh define "$folder/taken.xml"
vsh start taken
pid=$(qemu_pid taken)
before=$(vsh dumpxml taken)
sector_spec taken | drop guests taken
check "a domain that is not ours: conflict" \
  wait_check 20 property_is taken Sync conflict
check "it is left alone" same "$(vsh dumpxml taken)" "$before"
rm "$folder/spec/guests/taken.xml"
check "adopt prints its definition" has "<name>taken</name>" \
  ctl adopt --print taken
ctl adopt --print taken | drop guests taken
check "adopted, it is in sync" wait_check 30 property_is taken Sync synced
check "the plan is empty" wait_check 20 settled
check "and QEMU is the same process" same "$(qemu_pid taken)" "$pid"

vprovd_stop
tap_done
