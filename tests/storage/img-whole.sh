#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img snapshot, resize --shrink and amend, in turns with qemu-img's on one
# image: each goes on from where the other stopped, and both find it sound.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

for tool in qemu-img qemu-io; do
  have $tool && continue
  echo "1..0 # SKIP $tool is not there to take turns with"
  exit 77
done

# Bytes $1 from $2 on, $3 of them, into disk.
put () { theirs qemu-io -c "write -P $1 $2 $3" disk > /dev/null; }
keep () { theirs qemu-img convert -O raw disk "$1"; }

# Both find disk sound, and its bytes are those of $1.
judge () {
  {
    theirs qemu-img check disk && "$img" check disk &&
      "$img" compare -F raw disk "$1"
  } > scratch/judge 2>&1
  ok $? "$options: $2"
}

run () { # TOOL VERB ARGUMENT...
  tool=$1
  shift
  if [ "$tool" = ours ]; then "$img" "$@"; else theirs qemu-img "$@"; fi \
    > scratch/run 2>&1 || ok 1 "$options: $tool $*"
}

turns () {
  a=$1 b=$2
  run "$b" create -q -f qcow2 -o "$options" disk 5M
  put 1 0 3M && put 2 4500k 300k
  keep one
  run "$a" snapshot -c one disk
  judge one "$a took one"
  put 3 1M 1M
  keep two
  run "$b" snapshot -c two disk
  put 4 0 200k
  theirs qemu-io -c "write -z 2M 300k" -c "discard 2560k 256k" disk > /dev/null
  keep now
  run "$a" snapshot -a one disk
  judge one "$a applied one"
  run "$b" snapshot -a two disk
  judge two "$b applied two"
  put 5 2M 1M
  keep now
  run "$a" snapshot -d one disk
  judge now "$a deleted one"
  "$img" convert -l two -O raw disk past && cmp two past > scratch/cmp 2>&1
  ok $? "$options: two is as it was"
  run "$b" snapshot -d two disk
  judge now "$b deleted two"
  run "$a" resize --shrink disk 2500k
  truncate -s 2500k now
  judge now "$a shrunk it"
  run "$b" resize disk 4M
  truncate -s 4M now
  judge now "$b grew it"
}

kinds='cluster_size=64k extended_l2=on,cluster_size=16k'
[ -z "${VP_TEST_LONG:-}" ] || kinds="$kinds cluster_size=512 cluster_size=2M
  compat=0.10,cluster_size=4k refcount_bits=8,cluster_size=4k
  refcount_bits=64,cluster_size=4k lazy_refcounts=on"
for options in $kinds; do
  rm -f disk
  turns ours theirs
  [ -z "${VP_TEST_LONG:-}" ] || { rm -f disk && turns theirs ours; }
done

# Version 2 and back, with zero clusters in the disk and in a snapshot, over a
# base that they hide.
head -c 4M /dev/urandom > base
for cs in 64k ${VP_TEST_LONG:+4k}; do
  options=amend,cluster_size=$cs
  rm -f disk
  "$img" create -q -f qcow2 -o cluster_size="$cs" -b base -F raw disk
  put 1 100k 1M
  theirs qemu-io -c "write -z 2M 1M" -c "write -z -u 512k 128k" disk > /dev/null
  keep one
  "$img" snapshot -c one disk
  theirs qemu-io -c "write -z 1500k 640k" disk > /dev/null
  keep now
  for o in compat=0.10 compat=1.1 refcount_bits=64 refcount_bits=4 \
    lazy_refcounts=on lazy_refcounts=off refcount_bits=16; do
    run ours amend -o $o disk
    judge now "$o"
  done
  run theirs amend -o compat=0.10 disk
  judge now "their compat=0.10"
  run ours snapshot -a one disk
  judge one "one is as it was"
done
finish
