#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The table of arrows holds, and the script that says so finds what is wrong.
set -u
# shellcheck source=tests/system/tap.sh
. "$VP_SRCDIR/tests/system/tap.sh"
layers=$VP_SRCDIR/tests/house/check-layers

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# tampered FILE LINE...: a copy of the sources with lines added to FILE.
tampered ()
{
  local file=$tree/$1
  shift
  rm -rf "${tree:?}"/*
  (cd "$VP_SRCDIR" &&
     find storage net daemon -name '*.[ch]' ! -name '*-generated.[ch]' |
     tar -cf - -T -) | tar -C "$tree" -xf -
  chmod -R u+w "$tree"
  printf '%s\n' "$@" >> "$file"
}

finds ()
{
  local words=$1
  shift
  tampered "$@"
  has "$words" "$layers" "$tree" && fails "$layers" "$tree"
}

check "the sources keep to the table" "$layers" "$VP_SRCDIR"
check "storage must not know the daemon" \
  finds "storage knows itself alone" storage/error.c '#include "daemon/state.h"'
check "net must not know storage" \
  finds "net knows itself alone" net/net.c '#include "storage/pool.h"'
check "storage does without GIO" \
  finds "does without GIO" storage/error.c '#include <gio/gio.h>'
check "only main includes bus" \
  finds "only main includes bus" daemon/error.c '#include "daemon/bus.h"'
check "libvirt stays in its room" \
  finds "host-libvirt.c alone" daemon/error.c '  #  include <libvirt/libvirt.h>'
check "... and its links to others know it not" \
  finds "host-libvirt.c alone" daemon/host-link.c '#include <libvirt/libvirt.h>'
check "libxml2 stays in its rooms" \
  finds "xml.c alone" daemon/error.c '#include <libxml/tree.h>'
check "libsystemd stays in its rooms" \
  finds "main.c and log.c alone" daemon/error.c '#include <systemd/sd-bus.h>'
check "a pure room does no input or output" \
  finds "pure room" daemon/step.h '#include <unistd.h>'
check "... nor does a part of one" \
  finds "pure room" net/net-plan-private.h '#include <unistd.h>'
check "a circle is found" \
  finds "circle:" daemon/state.h '#include "daemon/spec-xml.h"'
check "an include that does not start at the root is found" \
  finds "from the root" daemon/error.c '#include "error.h"'
tap_done
