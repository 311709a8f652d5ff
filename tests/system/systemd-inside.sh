#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs in systemd.sh's container, once before and once after its reboot.
set -u
# shellcheck source=tests/system/tap.sh
. "$VP_SRCDIR/tests/system/tap.sh"
tap_count=$(cat /results/count 2> /dev/null || echo 0)
tap_failed=$(cat /results/failed 2> /dev/null || echo 0)

spec=/etc/vprovd
url=http://127.0.0.1:8080/

make_install ()
{
  make -s -C "$VP_BUILDDIR" install > /results/install.log 2>&1 ||
    { tail /results/install.log; return 1; }
}
# drop PATH: a spec from standard input, by rename.
drop ()
{
  cat > "$spec/.new"
  mv "$spec/.new" "$spec/$1.xml"
}
page () { curl -s -m 5 "$url$1"; }
property ()
{
  busctl get-property org.vprovd1 "/org/vprovd1/guest/$1" org.vprovd1.Guest "$2"
}
answers () { has "vprovd works" page ""; }
settled () { vprovctl plan > /dev/null; }
qemu_pid () { cat "/run/libvirt/qemu/$1.pid"; }
main_pid () { systemctl show -P MainPID vprovd; }
restarted_from ()
{
  local pid
  pid=$(main_pid)
  [ "$pid" -ne 0 ] && [ "$pid" -ne "$1" ]
}

web_spec ()
{
  cat <<EOM
<guest accel="tcg">
  <memory>192M</memory>
  <kernel image="/srv/guest/vmlinuz" initrd="/srv/guest/initrd"
          cmdline="console=ttyS0 quiet"/>
  <disk name="root" from="web" size="32M"/>
  <nic network="default"><forward port="8080" to="80"/></nic>
</guest>
EOM
}

first_boot ()
{
  local pid qemu

  check "make install" make_install
  check "systemctl enable --now vprovd" systemctl enable --now vprovd || return
  check "it is active" systemctl is-active vprovd
  check "it is enabled" systemctl is-enabled vprovd
  check "the worker has its user" getent passwd vprovd-img
  check "the exposure is at most 3.7" systemd-analyze security --no-pager \
    --threshold=37 vprovd
  check "the units have no fault" systemd-analyze verify --man=no \
    vprovd.service vprovd-dnsmasq@default.service

  check "a guest is made" "$VP_SRCDIR/tests/system/make-guest.sh" /srv/guest
  check "a base image is made" vprov-img convert -f raw -O qcow2 \
    /srv/guest/disk.raw /srv/web.qcow2
  chmod 444 /srv/web.qcow2
  echo '<image path="/srv/web.qcow2" format="qcow2"/>' | drop images/web
  web_spec | drop guests/web
  check "a dropped file becomes a guest that answers" wait_check 90 answers
  check "busctl reads its state" has '"running"' property web State
  check "busctl reads that it is in sync" \
    wait_check 20 has '"synced"' property web Sync
  check "dnsmasq runs in its own unit" \
    systemctl is-active vprovd-dnsmasq@default.service
  check "the journal has the guest's field" \
    has web journalctl -q -u vprovd VPROV_GUEST=web
  check "the status names what it does" \
    differ "$(systemctl show -P StatusText vprovd)" ""
  qemu=$(qemu_pid web)

  check "systemctl reload" systemctl reload vprovd
  printf '<guest>\n  <memory>lots</memory>\n</guest>\n' | drop guests/web
  check "a broken file: systemctl reload fails" fails systemctl reload vprovd
  check "a broken file: the journal has its place" \
    wait_check 10 has web.xml:2: journalctl -q -u vprovd
  check "a broken file: the guest runs on" answers
  web_spec | drop guests/web
  check "repaired: systemctl reload" systemctl reload vprovd
  check "repaired: the same QEMU" same "$(qemu_pid web)" "$qemu"

  check "stopped, the guest answers" stopped_answers
  systemctl start vprovd
  check "started again: nothing to do" wait_check 30 settled

  # In mid-job: there is a journal of the job as long as it runs.
  pid=$(main_pid)
  echo '<image path="/srv/guest/boot.raw" format="raw"/>' | drop images/sector
  chmod 444 /srv/guest/boot.raw
  (
    # No wait_for: the job is short.
    end=$((SECONDS + 20))
    until [ -e /var/lib/vprovd/jobs/late ] || [ $SECONDS -ge $end ]; do :; done
    [ -e /var/lib/vprovd/jobs/late ] && touch /run/in-mid-job
    kill -9 "$pid"
  ) &
  drop guests/late <<EOM
<guest accel="tcg">
  <memory>64M</memory>
  <disk name="root" from="sector" size="1M"/>
</guest>
EOM
  wait
  check "kill -9 in mid-job" test -e /run/in-mid-job
  check "systemd starts it again" wait_check 20 restarted_from "$pid"
  check "it converges: both run" \
    wait_check 60 has '"running"' property late State
  check "it converges: nothing to do" wait_check 30 settled
  check "the guest answers" answers
  check "it is the same QEMU" same "$(qemu_pid web)" "$qemu"
  check "no temporary file is left" same "" "$(find /var/lib/vprovd \
    \( -name '.*' -o -name '*.tmp*' -o -name '*.new' \) ! -name .)"
  check "no journal of a job is left" same "" \
    "$(ls /var/lib/vprovd/jobs 2> /dev/null)"

  check "make install over it" make_install
  check "and a restart" systemctl restart vprovd
  check "leave QEMU as it is" same "$(qemu_pid web)" "$qemu"
  check "and nothing to do" wait_check 30 settled
  check "and the guest answering" answers
}

stopped_answers () { systemctl stop vprovd && answers; }

second_boot ()
{
  check "after a boot of the host vprovd is there" \
    wait_check 60 systemctl is-active vprovd
  check "and the guest answers" wait_check 120 answers
  check "so the bridge is there" ip link show vp-default
  check "and both guests run" wait_check 60 has '"running"' property late State
  check "it is in sync" wait_check 30 settled
  check "none of our units has failed" \
    lacks vprovd systemctl --failed --no-legend
}

if [ "$(cat /results/phase)" = 1 ]; then
  first_boot
  end=reboot
else
  second_boot
  end=poweroff
fi
if [ "$tap_failed" -gt 0 ]; then
  note "vprovd's journal ends:"
  journalctl -q -b -u vprovd -o short-monotonic --no-pager | tail -n 60 |
    sed 's/^/# /'
fi
echo "$tap_count" > /results/count
echo "$tap_failed" > /results/failed
[ "$end" = reboot ] || echo "1..$tap_count"
systemctl --no-block "$end"
# Ends with the system, so that ExecStopPost= does not come first.
exec sleep infinity
