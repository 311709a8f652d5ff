# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A host, guests and clients, each a network namespace; sourced.
#
#   client 10.9.0.2 --- 10.9.0.1 host vp-default --- web 192.168.211.10
#   other  10.8.0.2 --- 10.8.0.1      192.168.211.1  db  192.168.211.11
#
# The host is the namespace that the script itself runs in, made anew with a
# file system view of its own: all of it is gone when the script ends.

. "$VP_SRCDIR/tests/system/tap.sh"

driver=$VP_BUILDDIR/tests/net/net-driver
peer=$VP_BUILDDIR/tests/net/net-peer

# net_enter SCRIPT BACKEND: runs SCRIPT inside, once.
net_enter ()
{
  [ -z "${VP_NET_INSIDE:-}" ] || return 0
  [ -x /usr/sbin/dnsmasq ] || skip_all "dnsmasq is not installed"
  [ -e "/usr/sbin/iptables-$2-save" ] || skip_all "no iptables-$2 here"
  [ "$(id -u)" -eq 0 ] || skip_all "needs root"
  unshare --mount --net --pid --fork true 2> /dev/null ||
    skip_all "no network namespaces here"
  VP_NET_INSIDE=$2 exec unshare --mount --net --pid --fork \
    --kill-child=KILL --mount-proc -- bash "$1" "$2"
}

# The administrator's alternative, for our eyes only.
use_backend ()
{
  local tool
  if [ ! -d /run/alternatives ]; then
    cp -a /etc/alternatives /run/alternatives
    mount --bind /run/alternatives /etc/alternatives
  fi
  for tool in iptables iptables-save iptables-restore \
    ip6tables ip6tables-save ip6tables-restore; do
    ln -sfn "/usr/sbin/${tool%%-*}-$1${tool#"${tool%%-*}"}" \
      "/run/alternatives/$tool"
  done
}

# make_host BACKEND: loopback, two networks of others, no rules.
make_host ()
{
  mount -t tmpfs -o mode=755 none /run
  mkdir -p /run/netns /run/t
  export XTABLES_LOCKFILE=/run/t/xtables.lock
  use_backend "$1"
  ip link set lo up
  echo 0 > /proc/sys/net/ipv4/ip_forward
  make_outside client 10.9.0
  make_outside other 10.8.0
  cd /run/t || exit 99
}

# make_outside NAME PREFIX
make_outside ()
{
  ip netns add "$1"
  ip link add "h-$1" type veth peer name eth0 netns "$1"
  ip addr add "$2.1/24" dev "h-$1"
  ip link set "h-$1" up
  ip -n "$1" link set lo up
  ip -n "$1" addr add "$2.2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via "$2.1"
}

# plug NAME BRIDGE MAC: a guest's cable, as a hypervisor would put it in.
plug ()
{
  ip netns add "$1"
  ip link add "t-$1" type veth peer name eth0 address "$3" netns "$1"
  ip link set "t-$1" master "$2" up
  ip -n "$1" link set lo up
  ip -n "$1" link set eth0 up
}

# unplug NAME...: the cable first; a server may keep the namespace a while.
unplug ()
{
  local name
  for name; do
    ip link del "t-$name"
    ip netns del "$name"
  done
}

# The MAC of a link of the host.
mac_of () { ip -o link show "$1" | sed 's/.*link.ether \([0-9a-f:]*\).*/\1/'; }

# address NAME ADDRESS GATEWAY: by hand, where DHCP is not what is tested.
address ()
{
  ip -n "$1" addr add "$2/24" dev eth0
  ip -n "$1" route add default via "$3"
}

# The first datagrams go while the bridge's ports still learn: ARP is settled
# before a test counts answers.
settle () { wait_for 5 ip netns exec "$1" ping -c1 -W1 "$2"; }

# serve NAME PORT...: in that guest, in the background.
serve ()
{
  local name=$1
  shift
  ip netns exec "$name" "$peer" serve "$name" "$@" > "$name.log" 2>&1 &
  wait_for 5 grep -q ready "$name.log"
}

apply () { "$driver" /run/v /run/s apply "${1:-wanted}" "${@:2}"; }
plan () { "$driver" /run/v /run/s plan "${1:-wanted}"; }
teardown () { "$driver" /run/v /run/s teardown; }
generation () { "$driver" - - generation; }

# from WHO ask...: "host" is the host itself.
from ()
{
  local who=$1
  shift
  if [ "$who" = host ]; then
    "$peer" "$@"
  else
    ip netns exec "$who" "$peer" "$@"
  fi
}

# answers WHO PROTO HOST PORT EXPECTED: the answer is that line.
answers ()
{
  local got
  got=$(from "$1" ask "$2" "$3" "$4") || true
  echo "answer: $got"
  [ "$got" = "$5" ]
}

# silent WHO PROTO HOST PORT: no answer.
silent () { ! from "$1" ask "$2" "$3" "$4"; }

# Rules of all tables, settings and links, as far as they are not counters.
snapshot ()
{
  iptables-save | sed 's/^#.*//; s/\[[0-9:]*\]//'
  ip6tables-save | sed 's/^#.*//; s/\[[0-9:]*\]//'
  # "followers" of ip_forward are among them; the neighbour lists come and go
  # with links, counters with traffic.
  find /proc/sys/net/ipv4 /proc/sys/net/bridge -type f \
    ! -path '*/neigh/*' ! -name '*fastopen_key' ! -name '*route/flush' \
    -exec grep -H . {} + 2> /dev/null | sort
  ip -o link | sed 's/@.*//' | grep -v 't-'
  ip route
}

# Processes of dnsmasq in this process namespace.
dnsmasq_runs () { grep -lsx dnsmasq /proc/[0-9]*/comm; }
