#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# VHD and VHDX as qemu-img writes them, read by vprov-img.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

if ! have qemu-img; then
  skip "qemu-img is not there" "VHD and VHDX of its making"
  finish
  exit 0
fi

# 1 MiB of noise, a hole, text at the end
head -c 1048576 /dev/urandom > disk.raw
truncate -s 9999872 disk.raw
yes words | head -c 70000 >> disk.raw
truncate -s 10070016 disk.raw

# read_back FORMAT OPTIONS
read_back () {
  theirs qemu-img convert -f raw -O "$1" -o "$2" disk.raw "$1.img" > scratch/out 2>&1
  ok $? "qemu-img makes $1 with $2"
  theirs qemu-img convert -f "$1" -O raw "$1.img" theirs.raw
  rm -f ours.raw
  silent convert -f "$1" -O raw "$1.img" ours.raw
  cmp theirs.raw ours.raw > scratch/out 2>&1; ok $? "the same bytes: $1 $2"
  theirs qemu-img info -f "$1" "$1.img" | sed -n 's/^virtual size: //p' > theirs.size
  "$img" info -f "$1" "$1.img" | sed -n 's/^virtual size: //p' > ours.size
  cmp theirs.size ours.size > scratch/out 2>&1; ok $? "the same size: $1 $2"
}

for options in subformat=dynamic subformat=fixed \
  subformat=dynamic,force_size=on subformat=fixed,force_size=on; do
  read_back vpc "$options"
done
for options in subformat=dynamic subformat=fixed block_size=1M block_size=4M \
  block_state_zero=off log_size=4M; do
  read_back vhdx "$options"
done
expect 0 "file format: vhdx" info vhdx.img
expect 1 "say -f vpc, or -f raw" info vpc.img # the last one is fixed
expect 63 "This image format does not support checks" check -f vpc vpc.img
expect 1 "Format driver 'vhdx' is read-only" resize -f vhdx vhdx.img 20M
expect 1 "Format driver 'vpc' is read-only" convert -n -O vpc disk.raw vpc.img
finish
