#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Real traffic through real rules, between namespaces; for the backend that
# the calling script names.
. "$VP_SRCDIR/tests/net/net.sh"
net_enter "$0" "${1:-nft}"
backend=$1
make_host "$backend"

cat > wanted << 'END'
net default 192.168.211.1/24 nat
net lone 192.168.212.1/24 isolated
host default web nic0 52:54:00:00:00:10 192.168.211.10
host default db nic0 52:54:00:00:00:11 192.168.211.11
host lone cell nic0 52:54:00:00:00:12 192.168.212.10
forward web web:tcp:8080 tcp 8080 8080 80 default 192.168.211.10
forward web web:udp:8080 udp 8080 8080 80 default 192.168.211.10
forward web web:tcp:8100 tcp 8100 8102 79 default 192.168.211.10
forward web web:tcp:8200 tcp 8200 8201 8200 default 192.168.211.10
forward db db:tcp:9090 tcp 9090 9090 90 default 192.168.211.11
forward cell cell:tcp:7070 tcp 7070 7070 70 lone 192.168.212.10
END

# legacy makes its tables when they are first looked at, and keeps them; with
# nft the tables that we make go with us.
if [ "$backend" = legacy ]; then
  for table in raw filter nat; do
    iptables -t "$table" -nL > /dev/null 2>&1
  done
fi
# The administrator has rules of his own, and drops what nobody accepts.
iptables -P FORWARD DROP
iptables -A FORWARD -s 203.0.113.7 -j ACCEPT
iptables -t nat -A PREROUTING -p tcp --dport 1 -j ACCEPT
snapshot > before

check "a dry run tells the steps" grep -q "create bridge vp-default" <(plan wanted)
check "... and changes nothing" diff before <(snapshot)
check "the first pass" apply
check "... makes all forwards active" test "$(apply | grep -c ' active ')" = 6
plug web vp-default 52:54:00:00:00:10
plug db vp-default 52:54:00:00:00:11
plug cell vp-lone 52:54:00:00:00:12
check "a pass takes new ports in" apply
address web 192.168.211.10 192.168.211.1
address db 192.168.211.11 192.168.211.1
address cell 192.168.212.10 192.168.212.1
settle web 192.168.211.1
settle db 192.168.211.1
settle cell 192.168.212.1
serve web 78 79 80 81 82 8200 8201
serve db 90
serve cell 70
ip netns exec client "$peer" serve client 6000 > client.log 2>&1 &
ip netns exec other "$peer" serve other 6001 > other.log 2>&1 &
wait_for 5 grep -q ready client.log
wait_for 5 grep -q ready other.log

# --- zero writes --------------------------------------------------------
before_generation=$(generation)
touch -d @1 /run/v/net.state
find /run/v /run/s ! -name net.lock -printf '%p %T@ %s\n' | sort > files.1
check "a second pass writes nothing" grep -qx "writes 0" <(apply)
find /run/v /run/s ! -name net.lock -printf '%p %T@ %s\n' | sort > files.2
check "... leaves the rules' generation" \
  test "$before_generation" = "$(generation)"
check "... and all files" diff files.1 files.2

# --- the way in ---------------------------------------------------------
check "tcp from outside, with the client's address" \
  answers client tcp 10.9.0.1 8080 "web 80 10.9.0.2"
check "udp from outside, with the client's address" \
  answers client udp 10.9.0.1 8080 "web 80 10.9.0.2"
check "at another address of the host" \
  answers client tcp 10.8.0.1 8080 "web 80 10.9.0.2"
check "a shifted range: its first port" \
  answers client tcp 10.9.0.1 8100 "web 79 10.9.0.2"
check "... its middle" answers client tcp 10.9.0.1 8101 "web 80 10.9.0.2"
check "... its last" answers client tcp 10.9.0.1 8102 "web 81 10.9.0.2"
check "... not the port before" silent client tcp 10.9.0.1 8099
check "... not the port behind" silent client tcp 10.9.0.1 8103
check "a plain range: its first port" \
  answers client tcp 10.9.0.1 8200 "web 8200 10.9.0.2"
check "... its last" answers client tcp 10.9.0.1 8201 "web 8201 10.9.0.2"
check "an isolated guest's forward" \
  answers client tcp 10.9.0.1 7070 "cell 70 10.9.0.2"
check "from the host itself, by an outer address" \
  answers host tcp 10.9.0.1 8080 "web 80 10.9.0.1"
check "from the host itself, by the bridge's address" \
  answers host tcp 192.168.211.1 8080 "web 80 192.168.211.1"
check "over 127.0.0.1, tcp" \
  answers host tcp 127.0.0.1 8080 "web 80 192.168.211.1"
check "over 127.0.0.1, udp" \
  answers host udp 127.0.0.1 8080 "web 80 192.168.211.1"

# --- hairpin, with and without br_netfilter -----------------------------
for filter in 0 1; do
  [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || continue
  echo $filter > /proc/sys/net/bridge/bridge-nf-call-iptables
  check "a pass with bridge-nf-call-iptables=$filter" apply
  check "a guest asks its own forward (bridge-nf $filter)" \
    answers web tcp 192.168.211.1 8080 "web 80 192.168.211.1"
  check "a guest asks another's forward (bridge-nf $filter)" \
    answers web tcp 192.168.211.1 9090 "db 90 192.168.211.1"
  check "... by an outer address of the host (bridge-nf $filter)" \
    answers db tcp 10.9.0.1 8080 "web 80 192.168.211.1"
  check "guests reach each other (bridge-nf $filter)" \
    answers db tcp 192.168.211.10 80 "web 80 192.168.211.11"
done

# --- the way out --------------------------------------------------------
check "a guest goes out, masqueraded" \
  answers web tcp 10.9.0.2 6000 "client 6000 10.9.0.1"
check "an isolated guest does not" silent cell tcp 10.9.0.2 6000
check "... nor to another network of ours" silent cell tcp 192.168.211.10 80
check "... nor to a forward of it" silent cell tcp 10.9.0.1 8080
check "a guest does not get at an isolated one" \
  silent web tcp 192.168.212.10 70

# --- guards -------------------------------------------------------------
ip -n client route add 192.168.211.0/24 via 10.9.0.1
check "who has a route to the guests gets at no port of theirs" \
  silent client tcp 192.168.211.10 80
mac=$(mac_of h-client)
bridge_mac=$(mac_of vp-default)
: > web.log
from client frame eth0 "$mac" 10.9.0.2 127.0.0.1 8080 crafted
from client frame eth0 "$mac" 10.9.0.2 10.9.0.1 8080 honest
wait_for 5 grep -q honest web.log
check "a frame from outside to 127.0.0.1 reaches no guest" \
  bash -c '! grep -q crafted web.log && grep -q honest web.log'
ip netns exec web "$peer" frame eth0 "$bridge_mac" \
  192.168.211.10 127.0.0.1 8080 crafted
ip netns exec db "$peer" frame eth0 "$bridge_mac" \
  10.9.0.77 192.168.211.1 8080 spoofed
ip netns exec db "$peer" frame eth0 "$bridge_mac" \
  192.168.211.11 192.168.211.1 8080 truthful
wait_for 5 grep -q truthful web.log
check "nor one from a guest" bash -c '! grep -q crafted web.log'
check "a guest cannot send with another's address" \
  bash -c '! grep -q spoofed web.log && grep -q truthful web.log'
iptables -P FORWARD ACCEPT
check "links that are not ours stay apart though ip_forward is on" \
  silent client tcp 10.8.0.2 6001
iptables -I FORWARD 1 -i h-client -o h-other -j ACCEPT
iptables -A FORWARD -i h-other -o h-client -j ACCEPT
check "the pass after keeps our jump first and ours last" apply
check "... once each" test "$(iptables-save | grep -c 'vprov:jump')" = 7
check "... and the administrator's rules let through what they name" \
  answers client tcp 10.8.0.2 6001 "other 6001 10.9.0.2"
iptables -D FORWARD -i h-client -o h-other -j ACCEPT
iptables -D FORWARD -i h-other -o h-client -j ACCEPT
iptables -P FORWARD DROP
apply > /dev/null

# --- the administrator's own chain --------------------------------------
iptables -A VPROV-USER -s 10.9.0.2 -p tcp --dport 80 -j DROP
check "VPROV-USER comes before our rules" silent client tcp 10.9.0.1 8080
check "... and a pass leaves it alone" grep -qx "writes 0" <(apply)
iptables -F VPROV-USER
check "... emptied, the forward is back" \
  answers client tcp 10.9.0.1 8080 "web 80 10.9.0.2"

# --- conflicts ----------------------------------------------------------
"$peer" hold tcp 8300 > hold.log &
holder=$!
wait_for 5 grep -q ready hold.log
{ cat wanted
  echo "forward web web:tcp:8300 tcp 8300 8300 80 default 192.168.211.10"
  echo "forward zoo zoo:tcp:8080 tcp 8080 8080 80 default 192.168.211.11"
} > clash
check "a port on which a process listens is refused, with its name" \
  grep -qx "forward web:tcp:8300 conflict net-peer (pid $holder) listens on tcp port 8300 of this host" \
  <(apply clash)
check "of two that want a port the later is refused" \
  grep -q "forward zoo:tcp:8080 conflict tcp port 8080 is taken by forward web:tcp:8080 of guest web" \
  <(apply clash)
kill $holder
wait $holder 2> /dev/null
check "the process gone, the forward is made" \
  grep -q "forward web:tcp:8300 active" <(apply clash)
"$peer" hold tcp 8300 > hold.log &
holder=$!
wait_for 5 grep -q ready hold.log
check "a process that comes later takes no port away" \
  grep -q "forward web:tcp:8300 active" <(apply clash)
kill $holder
wait $holder 2> /dev/null
# The longest comment that a rule can have: both kinds of iptables keep it.
long=vprov:$(printf 'g%.0s' {1..63}):$(printf 'i%.0s' {1..185})
{ cat wanted
  echo "forward $(tr : ' ' <<< "${long#*:}") tcp 8400 8400 80 default 192.168.211.11"
} > longest
check "iptables -L says whose forward a rule is" \
  bash -c 'iptables -t nat -nL | grep -qF "/* vprov:web:web:tcp:8080 */"'
check "a guest's name of 63 bytes gets in" apply longest
check "... whole" bash -c "iptables -t nat -nL | grep -qF '/* $long */'"
check "... and is read back" grep -qx "writes 0" <(apply longest)
check "back to what was wanted" apply

# --- stale connections --------------------------------------------------
flow () { ip netns exec client "$peer" ask udp 10.9.0.1 8080 4321; }
check "a udp flow begins" grep -qx "web 80 10.9.0.2" <(flow)
serve db 80
sed '/web:udp:8080/d' wanted > moved
echo "forward web web:udp:8080 udp 8080 8080 80 default 192.168.211.11" >> moved
check "the forward moves to another guest" apply moved
check "... and the flow with it" grep -qx "db 80 10.9.0.2" <(flow)
sed '/web:udp:8080/d' wanted > without
check "the forward goes" apply without
check "... and so does the flow" bash -c "! ip netns exec client '$peer' ask udp 10.9.0.1 8080 4321"
check "the forward comes" apply
check "... and a client that kept asking is let in" \
  grep -qx "web 80 10.9.0.2" <(flow)

# --- the check ----------------------------------------------------------
forward_check () { "$driver" /run/v /run/s check "${2:-wanted}" "$1"; }
check "a whole way" test "$(forward_check web:tcp:8080 | grep -c ' ok: ')" = 5
check "nothing listens in the guest" \
  grep -q "^connect BROKEN: 192.168.211.10 refuses tcp port 83" \
  <(sed 's/8100 8102 79/8100 8100 83/' wanted > w2; apply w2 > /dev/null; \
    forward_check web:tcp:8100 w2)
apply > /dev/null
ip -n db addr del 192.168.211.11/24 dev eth0
ip neigh flush dev vp-default
check "the guest is not there" \
  grep -q "^neighbour BROKEN: nobody on vp-default answers for 192.168.211.11" \
  <(forward_check db:tcp:9090)
address db 192.168.211.11 192.168.211.1 2> /dev/null
ip link set vp-default down
check "the bridge is down" grep -q "^route BROKEN: bridge vp-default is down" \
  <(forward_check db:tcp:9090)
check "a pass sets it up again" apply
echo 0 > /proc/sys/net/ipv4/ip_forward
check "somebody turned ip_forward off" \
  grep -q "^guards BROKEN: ip_forward is off" <(forward_check db:tcp:9090)
check "a pass turns it on again" apply
iptables -t nat -F VPROV-PRE
check "the rule is gone" grep -q "^\(rule\|guards\) BROKEN" \
  <(iptables -t nat -F VPROV-T; forward_check db:tcp:9090)

# --- somebody else's hand -----------------------------------------------
for damage in "iptables -t nat -F" "iptables -F" "iptables -t raw -F" \
  "iptables -D FORWARD -m comment --comment vprov:jump -j VPROV-FWD" \
  "iptables -t nat -I PREROUTING 1 -p tcp --dport 2 -j ACCEPT" \
  "iptables -I FORWARD 1 -j VPROV-FWD" \
  "iptables -N VPROV-STRAY"; do
  $damage
  check "a pass heals: $damage" apply
  check "... for good" grep -qx "writes 0" <(apply)
  check "... and the forward answers" \
    answers client tcp 10.9.0.1 8080 "web 80 10.9.0.2"
  check "... jumps once each" test "$(iptables-save | grep -c 'vprov:jump')" = 7
done
iptables -t nat -D PREROUTING -p tcp --dport 2 -j ACCEPT
iptables -t nat -A PREROUTING -p tcp --dport 1 -j ACCEPT
iptables -A FORWARD -s 203.0.113.7 -j ACCEPT
apply > /dev/null
if [ "$backend" = nft ]; then
  "$driver" /run/v /run/s watch > watch.log &
  wait_for 5 grep -q ready watch.log
  sed '/web:tcp:8200/d' wanted > fewer
  apply fewer > /dev/null
  wait_for 5 grep -q own watch.log
  check "the watch knows our own change" \
    bash -c 'grep -q own watch.log && ! grep -q foreign watch.log'
  iptables -t nat -N STRANGER
  check "... and tells of another's" wait_for 5 grep -q foreign watch.log
  iptables -t nat -X STRANGER
  apply > /dev/null
fi

# --- killed, or failing, at any change ----------------------------------
unplug web db cell
for fault in die fail; do
  teardown
  rm -f faults faults.err unguarded
  for n in $(seq 0 40); do
    if apply wanted $fault "$n" > fault.log 2>&1; then
      break
    fi
    # Never a forward without its guard.
    if iptables-save | grep -q -- '-j DNAT' &&
      { ! iptables-save -t raw | grep -q -- '-d 192.168.211.0/24 ! -i vp-default -j DROP' ||
        ! iptables-save -t filter | grep -q -- '-A VPROV-FWD -o vp-default -j DROP'; }; then
      echo "$fault $n" >> unguarded
    fi
    apply > /dev/null 2>> faults.err || echo "$fault $n up" >> faults
    apply | grep -qx "writes 0" || echo "$fault $n again" >> faults
    # And the same on the way down.
    grep -v '^forward\|^host\|^net' wanted > nothing
    apply nothing $fault "$n" > /dev/null 2>&1
    teardown 2>> faults.err || echo "$fault $n down" >> faults
    snapshot > now
    diff before now > left || { echo "$fault $n left"; cat left; } >> faults
  done
  check "$fault at each of $n changes: the next pass converges" \
    bash -c 'cat faults faults.err; test ! -s faults'
  check "... never a forward without its guards" \
    bash -c 'cat unguarded; test ! -e unguarded'
  check "... and there was something to fail" test "$n" -gt 10
done

# --- DHCP ---------------------------------------------------------------
if busybox udhcpc --help > /dev/null 2>&1; then
  cat > lease.sh << 'END'
#!/bin/sh
[ "$1" != bound ] || echo "$ip $router" > "/run/t/lease.got"
END
  chmod 755 lease.sh
  lease ()
  {
    rm -f lease.got
    ip netns exec "$1" busybox udhcpc -i eth0 -n -q -f -t 5 -T 1 \
      -s /run/t/lease.sh
    cat lease.got
  }
  check "all again" apply
  plug web vp-default 52:54:00:00:00:10
  plug db vp-default 52:54:00:00:00:99
  plug cell vp-lone 52:54:00:00:00:12
  apply > /dev/null
  check "a guest gets its address and the way out" \
    grep -qx "192.168.211.10 192.168.211.1" <(lease web 2>&1)
  check "an isolated guest gets no way out" \
    grep -qx "192.168.212.10 " <(lease cell 2>&1)
  check "a stranger gets none" bash -c "! ip netns exec db busybox udhcpc \
    -i eth0 -n -q -f -t 2 -T 1 -s /run/t/lease.sh"
  pids=$(dnsmasq_runs)
  sed 's/52:54:00:00:00:11/52:54:00:00:00:99/' wanted > renamed
  check "a new MAC is known at once" apply renamed
  check "... and gets the address" \
    grep -qx "192.168.211.11 192.168.211.1" <(lease db 2>&1)
  check "... by the same dnsmasq" test "$pids" = "$(dnsmasq_runs)"
  sed 's/52:54:00:00:00:10 192/52:54:00:00:00:98 192/' renamed > heir
  check "another machine inherits an address that is still leased" apply heir
  ip -n web link set eth0 down
  ip -n web link set eth0 address 52:54:00:00:00:98 up
  check "... and gets it" \
    grep -qx "192.168.211.10 192.168.211.1" <(lease web 2>&1)
  check "... and nothing is left to do" grep -qx "writes 0" <(apply heir)
  kill -9 "$(cat /run/v/dnsmasq/default.pid)"
  check "a dnsmasq that was killed is started again" \
    grep -q "start dnsmasq of network default" <(apply)
  address cell 192.168.212.10 192.168.212.1
  check "a guest asks for another guest's name" \
    grep -q 192.168.212.10 <(ip netns exec cell busybox nslookup cell 192.168.212.1)
else
  skip "DHCP" "no busybox with udhcpc"
fi

# --- gone without a trace -----------------------------------------------
check "the prefix moves, and the old address goes" \
  bash -c "sed 's/192.168.211/192.168.233/' wanted > other-prefix; \
    '$driver' /run/v /run/s apply other-prefix && \
    ! ip addr show vp-default | grep -q 192.168.211 && \
    ip addr show vp-default | grep -q 192.168.233.1/24"
check "teardown" teardown
[ ! -e /run/netns/web ] || unplug web db cell
check "... leaves rules, settings and links as they were" \
  diff before <(snapshot)
check "... and no process" bash -c '! grep -lsx dnsmasq /proc/[0-9]*/comm'
check "... and no file but the lock" \
  test "$(find /run/v /run/s -type f -o -type l)" = /run/v/net.lock
tap_done
