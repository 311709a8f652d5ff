#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random journeys of a disk in files, from format to format, by vprov-img and
# now and then by qemu-img: after each hop both tools find the same bytes in it
# as in the raw file that it began as, and a check finds nothing.
# VP_TEST_SEED repeats one journey.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"
# shellcheck disable=SC3028,SC3043 # bash: RANDOM with a seed
for tool in qemu-img prlimit timeout awk; do
  have $tool || {
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  }
done

# NAME FORMAT OPTIONS; "-" for none.
table='
raw raw -
qcow2 qcow2 -
qcow2-v2 qcow2 compat=0.10
qcow2-512 qcow2 cluster_size=512
qcow2-zstd qcow2 compression_type=zstd
qcow2-extended qcow2 extended_l2=on
qcow qcow -
vdi vdi -
vdi-static vdi static=on
vmdk vmdk -
vmdk-flat vmdk subformat=monolithicFlat
vmdk-split vmdk subformat=twoGbMaxExtentSparse
vmdk-split-flat vmdk subformat=twoGbMaxExtentFlat
vmdk-stream vmdk subformat=streamOptimized
vmdk-zeroed vmdk zeroed_grain=on
cow cow -
'

# Those that this build writes.
cases=
while read -r name format options; do
  [ -n "$name" ] || continue
  [ "$options" = - ] && options=
  if "$img" create -q -f "$format" ${options:+-o "$options"} try 1M \
    > scratch/out 2>&1; then
    cases="$cases $name"
  fi
  rm -f try* scratch/*
done << EOF
$table
EOF
# shellcheck disable=SC2086
set -- $cases
n_cases=$#

below () { drawn=$((RANDOM % $1)); }

draw_case () {
  below "$n_cases"
  # shellcheck disable=SC2086
  set -- $cases
  shift "$drawn"
  case_name=$1
  read -r _ format options << EOF
$(echo "$table" | grep "^$1 ")
EOF
  [ "$options" = - ] && options=
}

# Text, noise and holes; any number of sectors.
make_disk () {
  below 12000
  sectors=$((drawn + 1))
  rm -f disk.raw
  truncate -s $((sectors * 512)) disk.raw
  below 6
  for _ in $(seq "$drawn"); do
    below $sectors
    at=$drawn
    below 3
    sort=$drawn
    below 300
    awk -v sort=$sort -v seed="$RANDOM" -v n="$drawn" 'BEGIN {
      srand (seed)
      for (i = 0; i < n * 512; i += 16)
        printf (sort ? "%016d" : "0123456789abcde\n"), int (rand () * 1e15) }' |
      dd of=disk.raw bs=512 seek="$at" conv=notrunc status=none
  done
  truncate -s $((sectors * 512)) disk.raw
}

step () {
  echo "\$ $*" >> scratch/said
  case $1 in
    "$img") timeout 60 "$@" >> scratch/said 2>&1 ;;
    *) theirs "$@" >> scratch/said 2>&1 ;;
  esac
}

can_pack () {
  case $1 in qcow2* | qcow | vmdk-stream) ;; *) return 1 ;; esac
}

# hop FROM FROM_FORMAT TO: into a case that is drawn
hop () {
  local from=$1 from_format=$2 to=$3 by=$img pack
  draw_case
  set -- -f "$from_format" -O "$format"
  [ -n "$options" ] && set -- "$@" -o "$options"
  below 2
  if [ $drawn = 0 ] && can_pack "$case_name"; then pack=-c; else pack=; fi
  below 4
  case $drawn in 0) set -- "$@" -S 0 ;; 1) set -- "$@" -S 64k ;; esac
  below 3
  case $drawn in 0) set -- "$@" -m 3 -W ;; 1) set -- "$@" -m 1 ;; esac
  below 4
  if [ $drawn = 0 ] && [ "$format" != cow ] && [ "$from_format" != cow ]; then
    by=qemu-img
    # It cannot pack the last cluster of a qcow where that is short.
    [ "$format" = qcow ] && pack=
  fi
  step "$by" convert ${pack:+"$pack"} "$@" "$from" "$to" && judge "$to"
}

judge () {
  step "$img" compare -f raw -F "$format" disk.raw "$1" || return
  case $format in
    raw) return 0 ;;
    cow) step "$img" check -f cow "$1" && return ;;
  esac
  step "$img" check -f "$format" "$1" || return
  step qemu-img compare -f raw -F "$format" disk.raw "$1" || return
  case $format in
    qcow) ;;
    *) step qemu-img check -f "$format" "$1" ;;
  esac
}

journey () {
  RANDOM=$1
  local hops i from=disk.raw from_format=raw result=0 way=raw
  make_disk
  below 4
  hops=$((drawn + 1))
  for i in $(seq $hops); do
    hop "$from" "$from_format" "hop$i.img" || result=1
    way="$way $case_name"
    [ $result = 0 ] || break
    from=hop$i.img from_format=$format
  done
  ok $result "VP_TEST_SEED=$1: $way"
  rm -f hop* disk.raw
}

if [ -n "${VP_TEST_SEED:-}" ]; then
  journey "$VP_TEST_SEED"
else
  first=1 rounds=40
  if [ -n "${VP_TEST_LONG:-}" ]; then
    first=$(($(date +%s) % 30000)) rounds=${VP_TEST_ROUNDS:-400}
  fi
  for seed in $(seq $first $((first + rounds - 1))); do
    journey "$seed"
  done
fi
finish
