#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Programs that fail, hang or lie, tables that cannot be read, locks that are
# held, two at once.
. "$VP_SRCDIR/tests/net/net.sh"
net_enter "$0" nft
make_host nft

cat > wanted << 'END'
net default 192.168.211.1/24 nat
host default web nic0 52:54:00:00:00:10 192.168.211.10
forward web web:tcp:8080 tcp 8080 8080 80 default 192.168.211.10
END
sed 's/ 80 default/ 81 default/' wanted > other-port

# stub TOOL: standard input becomes the program of that name, for one test.
stub ()
{
  rm -f "/run/alternatives/$1"
  cat > "/run/alternatives/$1"
  chmod 755 "/run/alternatives/$1"
}
unstub () { ln -sfn "/usr/sbin/iptables-nft${1#iptables}" "/run/alternatives/$1"; }
fails () { local got; got=$("$@" 2>&1) && return 1; echo "$got"; }
complains () { fails "${@:2}" | grep -q "$1"; }

check "the first pass" apply

# --- iptables-restore ---------------------------------------------------
rm -f count
stub iptables-restore << 'END'
#!/bin/sh
echo x >> /run/t/count
[ "$(wc -l < /run/t/count)" -gt 2 ] || exit 4
exec /usr/sbin/iptables-nft-restore "$@"
END
check "busy twice, then not: the pass waits and is done" apply other-port
check "... in three tries" test "$(wc -l < count)" -ge 3
stub iptables-restore << 'END'
#!/bin/sh
echo "line 7 failed" >&2
exit 2
END
check "a refusal names what iptables said" complains "line 7 failed" apply
unstub iptables-restore
check "... and leaves nothing half done" apply
check "... in the end" grep -qx "writes 0" <(apply)

# --- iptables-save ------------------------------------------------------
stub iptables-save << 'END'
#!/bin/sh
echo "*filter"; echo ":FORWARD ACCEPT [0:0]"
END
check "a save cut short is not believed" complains "not a table" apply
stub iptables-save << 'END'
#!/bin/sh
echo "broken library" >&2; exit 1
END
check "a save that fails is told" complains "broken library" apply
unstub iptables-save
before=$(generation)
check "meanwhile nothing was written" grep -qx "writes 0" <(apply)
check "... truly" test "$before" = "$(generation)"

# --- a table that iptables cannot read ----------------------------------
cat > foreign.nft << 'END'
table ip nat {
  map ports { type inet_service : ipv4_addr; elements = { 99 : 10.9.9.9 } }
  chain FOREIGN {
    dnat to tcp dport map @ports
  }
}
END
if ! command -v nft > /dev/null; then
  skip "a table that iptables cannot read" "nft is not installed"
elif ! check "a map of nft's own in table nat" nft -f foreign.nft ||
  iptables-save 2> /dev/null | grep -q '^\*nat'; then
  skip "iptables cannot read the table" "this iptables can"
else
  check "the first pass over a table that cannot be read" apply
  check "... the second writes nothing" grep -qx "writes 0" <(apply)
  check "... one jump of ours each" \
    test "$(nft list chain ip nat PREROUTING 2> /dev/null | grep -c VPROV-PRE)" = 1
  check "a changed forward gets in" apply other-port
  check "... where it belongs" \
    grep -q '192.168.211.10:81' <(nft list chain ip nat VPROV-T 2> /dev/null)
  check "... once" grep -qx "writes 0" <(apply other-port)
  iptables -t nat -D PREROUTING -m addrtype --dst-type LOCAL \
    -m comment --comment vprov:jump -j VPROV-PRE
  check "a jump that was lost comes back" apply other-port
  check "... once" \
    test "$(nft list chain ip nat PREROUTING 2> /dev/null | grep -c VPROV-PRE)" = 1
  check "teardown" teardown
  check "... leaves the foreign map and nothing of ours" \
    bash -c 'nft list ruleset | grep -q FOREIGN && ! nft list ruleset | grep -q VPROV'
  nft delete table ip nat
fi
teardown

# --- locks --------------------------------------------------------------
mkdir -p /run/v
(
  flock 9
  echo held > held
  sleep 1.5
) 9> /run/v/net.lock &
wait_for 5 test -s held
check "another daemon's lock is waited for" apply
wait $!
apply other-port > one.log 2>&1 &
one=$!
apply wanted > two.log 2>&1
two=$?
wait $one
one=$?
check "two at once: both succeed" test "$one $two" = "0 0"
check "... and the rules are one's or the other's" \
  test "$(iptables-save -t nat | grep -c -- '-j DNAT')" = 1
teardown

use_backend legacy
for table in raw filter nat; do
  iptables -t "$table" -nL > /dev/null 2>&1
done
rm -f held
(
  flock 9
  echo held > held
  sleep 1.5
) 9> "$XTABLES_LOCKFILE" &
wait_for 5 test -s held
check "iptables' own lock is waited for" apply
wait $!
teardown
use_backend nft

# --- a link of somebody else --------------------------------------------
ip link add vp-default type bridge
check "a bridge of that name that is not ours is refused" \
  complains "a link vp-default exists that is not ours" apply
check "... and survives a teardown" bash -c \
  "'$driver' /run/v /run/s teardown && ip link show vp-default"
ip link del vp-default

# --- what the host uses --------------------------------------------------
ip addr add 192.168.211.9/28 dev h-client
ip route add 192.168.212.0/22 via 10.9.0.2
check "the prefix that is chosen is free" \
  grep -qx "chosen 192.168.216.1/24" <("$driver" - - used)

# --- many ---------------------------------------------------------------
{
  cat wanted
  for port in $(seq 10001 20000); do
    echo "forward g g:$port tcp $port $port 80 default 192.168.211.20"
  done
} > many
check "10,000 forwards" grep -q "forward g:20000 active" <(apply many)
check "... nothing left to do" grep -qx "writes 0" <(apply many)
sed 's/forward g g:15000 tcp 15000 15000 80/forward g g:15000 tcp 15000 15000 81/' \
  many > many-2
check "one of them changed rewrites one leaf" \
  grep -qx "step table nat: write 1 chain" <(apply many-2)
check "no leaf is longer than 64" test "$(iptables-save -t nat |
  awk '/^-A VPROV-/ { n[$2]++ } END { for (c in n) if (n[c] > m) m = n[c]; print m }')" -le 64
check "teardown" teardown
tap_done
