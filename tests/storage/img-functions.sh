# shellcheck shell=sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the tests of vprov-img's verbs share; read by them, not run.  It leaves
# them in an empty folder, with $img to call.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
dir=$(mktemp -d "${TMPDIR:-/tmp}/vprov-img-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99
mkdir scratch # what the functions write
n=0

have () { command -v "$1" > /dev/null; }

# Tools of others run in a cage: they are no safe judges of odd images.
theirs () { prlimit --as=4294967296 --cpu=20 timeout 20 "$@"; }

ok () {
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    cat scratch/* 2> /dev/null | sed 's/^/# /'
  fi
  rm -f scratch/*
}

skip () {
  n=$((n + 1))
  echo "ok $n - $2 # SKIP $1"
}

finish () { echo "1..$n"; }

# expect STATUS WORDS ARGUMENT...: the exit status, and words on stdout or
# stderr ("" for any)
expect () {
  want=$1 words=$2
  shift 2
  "$img" "$@" > scratch/out 2> scratch/err
  got=$? result=1
  if [ "$got" -eq "$want" ]; then
    if [ -z "$words" ] || grep -qF -e "$words" scratch/out scratch/err; then
      result=0
    fi
  else
    echo "status $got, not $want" > scratch/status
  fi
  ok $result "$* -> $want $words"
}

# says nothing at all
silent () {
  "$img" "$@" > scratch/out 2> scratch/err
  got=$?
  [ "$got" -eq 0 ] && [ ! -s scratch/out ] && [ ! -s scratch/err ]
  ok $? "$* says nothing"
}

# same ARGUMENT...: both tools give the same output, messages and status.  $reset
# is run before each, $look after it, with what it prints compared too.
reset=: look=:
same () {
  for name in qemu-img vprov-img; do
    # Sanitizers need more room than a cage gives.
    if [ $name = qemu-img ]; then set -- theirs qemu-img "$@"; else
      shift 2
      set -- "$img" "$@"
    fi
    eval "$reset"
    # On a busy machine qemu-img may fail to time its own hashing.
    for _ in 1 2 3 4 5; do
      "$@" > "scratch/$name.out" 2> "scratch/$name.err"
      status=$?
      grep -q "accurate CPU usage" "scratch/$name.err" || break
    done
    if [ $name = qemu-img ] && grep -q "accurate CPU usage" scratch/qemu-img.err; then
      shift 2
      rm -f scratch/*
      skip "qemu-img cannot time its hashing just now" "$*"
      return
    fi
    echo "status $status" >> "scratch/$name.out"
    eval "$look" >> "scratch/$name.out" 2>&1
    # Ours alone says where a size was rounded up.
    sed -i '/: the disk has [0-9]* bytes, not [0-9]*: /d' "scratch/$name.err"
    cat "scratch/$name.out" "scratch/$name.err" |
      sed 's/qemu-img/vprov-img/g' > "scratch/$name"
    rm "scratch/$name.out" "scratch/$name.err"
  done
  shift
  cmp -s scratch/qemu-img scratch/vprov-img
  ok $? "$*"
}

# Only in "make check-long": what is like the others.
long () {
  if [ -n "${VP_TEST_LONG:-}" ]; then "$@"; fi
}
