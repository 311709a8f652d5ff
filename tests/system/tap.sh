# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a test script says and how it waits.  Output is TAP; a failed check
# shows what it printed.

tap_count=0
tap_failed=0

note () { printf '# %s\n' "$*"; }

# check WORDS COMMAND...: one test.  The command's output is shown only where
# it fails.
check ()
{
  local words=$1 output
  shift
  tap_count=$((tap_count + 1))
  if output=$("$@" 2>&1); then
    echo "ok $tap_count - $words"
    return 0
  fi
  echo "not ok $tap_count - $words"
  printf '%s\n' "command: $*" "$output" | tail -n 40 | sed 's/^/# /'
  tap_failed=$((tap_failed + 1))
  return 1
}

# skip WORDS REASON: a part that this machine truly lacks.
skip ()
{
  tap_count=$((tap_count + 1))
  echo "ok $tap_count - $1 # SKIP $2"
}

skip_all ()
{
  echo "1..0 # SKIP $*"
  exit 0
}

bail_out ()
{
  echo "Bail out! $*"
  exit 99
}

tap_done ()
{
  echo "1..$tap_count"
  [ "$tap_failed" -eq 0 ]
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for ()
{
  local end=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# As wait_for, and gives the last output where time ran out.
wait_check ()
{
  wait_for "$@" && return 0
  shift
  "$@"
}

same () { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }
differ () { [ "$1" != "$2" ] || { echo "both are '$1'"; return 1; }; }
# has TEXT COMMAND...: the output holds the text.
has ()
{
  local text=$1 output
  shift
  output=$("$@" 2>&1) || true
  case $output in
    *"$text"*) return 0 ;;
  esac
  printf '%s\n' "no '$text' in:" "$output"
  return 1
}
lacks () { ! has "$@" > /dev/null; }
fails () { ! "$@"; }
