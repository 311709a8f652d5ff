#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# VDI between vprov-img, qemu-img and 7-Zip: what one writes the others read,
# and their checks find nothing.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

zip=7z
have $zip || zip=7zz

# judged IMAGE RAW: what others say of an image of ours
judged () {
  if have qemu-img; then
    theirs qemu-img check -q -f vdi "$1" > scratch/out 2>&1
    ok $? "qemu-img check $1"
    theirs qemu-img compare -f vdi -F raw "$1" "$2" > scratch/out 2>&1
    ok $? "qemu-img compare $1 $2"
  else
    skip "qemu-img is not there" "qemu-img about $1"
  fi
  if have $zip; then
    rm -rf unpacked
    theirs $zip x -y -tVDI -ounpacked "$1" > scratch/out 2>&1 &&
      cmp "$2" unpacked/* > scratch/cmp 2>&1
    ok $? "7-Zip reads $1 as $2"
  else
    skip "7-Zip is not there" "7-Zip about $1"
  fi
}

# ---- ours ----------------------------------------------------------------

head -c 2500000 /dev/urandom > noise
for size in 512 1048064 1048576 1049088 7340544; do
  truncate -s "$size" "$size.raw"
  dd if=noise of="$size.raw" bs=512 count=$((size / 1024)) conv=notrunc 2> scratch/err
  for options in static=off static=on; do
    name=$size-$options.vdi
    silent convert -f raw -O vdi -o "$options" "$size.raw" "$name"
    expect 0 "No errors" check -f vdi "$name"
    judged "$name" "$size.raw"
  done
done
silent convert -f raw -O vdi -o cluster_size=64k 7340544.raw small.vdi
expect 0 "cluster_size: 65536" info small.vdi
silent compare -q -f raw -F vdi 7340544.raw small.vdi

# Sizes that change: within the map's room, and past it.
silent create -q -f vdi grow.vdi 3M
truncate -s 3M grow.raw
silent convert -n -f raw -O vdi 1049088.raw grow.vdi
dd if=1049088.raw of=grow.raw conv=notrunc 2> scratch/err
expect 0 "Image resized." resize -f vdi grow.vdi 5000000000
truncate -s 5000000000 grow.raw
expect 0 "Image resized." resize -f vdi --shrink grow.vdi 10M
truncate -s 10M grow.raw
judged grow.vdi grow.raw

if ! have qemu-img || ! have qemu-io; then
  skip "qemu-img is not there" "what QEMU writes"
  finish
  exit 0
fi

# A map of a terabyte and a half has no room below a data area of QEMU's.
theirs qemu-img create -q -f vdi theirs.vdi 40M > scratch/out
theirs qemu-io -f vdi -c "write -P 1 0 20M" -c "write -P 2 35M 4k" theirs.vdi > scratch/out
theirs qemu-img convert -f vdi -O raw theirs.vdi theirs.raw
expect 0 "Image resized." resize -f vdi theirs.vdi 1500G
expect 0 "No errors" check -f vdi theirs.vdi
expect 0 "Image resized." resize -f vdi --shrink theirs.vdi 40M
judged theirs.vdi theirs.raw

# ---- theirs, and both at one image ---------------------------------------

for size in 512 1048064 7340544; do
  for options in static=off static=on; do
    theirs qemu-img convert -f raw -O vdi -o "$options" "$size.raw" q.vdi
    expect 0 "Images are identical." compare -f raw -F vdi "$size.raw" q.vdi
    expect 0 "No errors" check -f vdi q.vdi
  done
done

silent create -q -f vdi both.vdi 20M
truncate -s 20M both.raw
for at in 0 1047552 5242880 19922944 3145216 12582912; do
  theirs qemu-io -f vdi -c "write -P $((at % 251)) $at 70k" both.vdi > scratch/out
  theirs qemu-img convert -f vdi -O raw both.vdi both.raw
  dd if=noise of=both.raw bs=512 seek=$((at / 512 + 1000)) count=99 \
    conv=notrunc 2> scratch/err
  silent convert -n -f raw -O vdi both.raw both.vdi
done
expect 0 "No errors" check -f vdi both.vdi
judged both.vdi both.raw

# What QEMU leaves where the power fails between its map and its header.
theirs qemu-io -f vdi -c "write -P 9 19M 1M" both.vdi > scratch/out
theirs qemu-img convert -f vdi -O raw both.vdi both.raw
printf '\001\000\000\000' | dd of=both.vdi bs=1 seek=388 conv=notrunc 2> scratch/err
cp both.vdi cut.vdi
expect 2 "the header counts 1 blocks" check -f vdi cut.vdi
expect 0 "The following inconsistencies were found and repaired" \
  check -f vdi -r all cut.vdi
judged cut.vdi both.raw
finish
