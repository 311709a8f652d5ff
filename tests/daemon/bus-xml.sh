#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# org.vprovd1.xml is the manual of the bus: every member has its paragraph and
# its test, every argument is told of.
set -u
# shellcheck source=tests/system/tap.sh
. "${VP_SRCDIR:-.}/tests/system/tap.sh"
xml=$VP_SRCDIR/daemon/org.vprovd1.xml
tests=$VP_SRCDIR/tests/daemon/test-bus.c

undocumented ()
{
  awk '
    /<!--/ { comment = ""; inside = 1 }
    inside { comment = comment "\n" $0 }
    /-->/ { inside = 0; next }
    inside { next }
    /<(property|method|signal) / {
      match ($0, /name="[^"]*"/)
      name = substr ($0, RSTART + 6, RLENGTH - 7)
      text = comment
      comment = ""
      if (text !~ "<!-- " name ":") print name
    }
    /<arg / && name != "" {
      match ($0, /name="[^"]*"/)
      arg = substr ($0, RSTART + 6, RLENGTH - 7)
      if (text !~ "@" arg ":") print name " @" arg
    }' "$xml"
}
members () { sed -nE 's/.*<(property|method|signal) name="([^"]*)".*/\2/p' "$xml"; }
untested ()
{
  local member
  for member in $(members); do
    grep -q "\"${member}[\" ]" "$tests" || echo "$member"
  done
}

check "there are members" test "$(members | wc -l)" -gt 50
check "every member and argument is documented" same "" "$(undocumented)"
check "every member is tested" same "" "$(untested)"
if command -v xmllint > /dev/null; then
  check "it is XML" xmllint --nonet --noout "$xml" "$VP_SRCDIR/etc/org.vprovd1.conf"
else
  skip "it is XML" "xmllint is not installed"
fi
tap_done
