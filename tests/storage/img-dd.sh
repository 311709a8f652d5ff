#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img dd, beside qemu-img's.
# shellcheck disable=SC2034 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

head -c 3000832 /dev/urandom > s.raw
silent dd -f raw -O raw bs=1M skip=1 if=s.raw of=o.raw
tail -c +1048577 s.raw | cmp -s - o.raw; ok $? "all behind the first block"
silent dd -f raw -O qcow2 bs=1k count=100 skip=3 if=s.raw of=o.qcow2
silent convert -O raw o.qcow2 back.raw
head -c 102400 s.raw | tail -c +3073 | cmp -s - back.raw; ok $? "into qcow2"
expect 1 "source and target are one file" dd if=s.raw of=s.raw
[ "$(stat -c %s s.raw)" = 3000832 ]; ok $? "the source is as it was"
expect 1 "Must specify both input and output files" dd if=s.raw
expect 1 "No such file" dd if=s.raw of=no/o.raw
expect 1 "No such file" dd if=none of=x
[ ! -e x ]; ok $? "failures leave no file"
if ! have qemu-img; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

look='stat -c %s x.raw; sha256sum x.raw'
reset='rm -f x.raw'
same dd -f raw if=s.raw of=x.raw
for o in "bs=1M count=1" "bs=1M skip=2" "bs=1M skip=5" "bs=1M count=1 skip=1" \
  "bs=700 count=3" "bs=1k count=7 skip=2" "count=0" "bs=1G count=99999999999" \
  "bs=1G skip=99999999999" "skip=1k" "bs=64k count=1000"; do
  # shellcheck disable=SC2086 # words
  same dd -f raw $o if=s.raw of=x.raw
done
reset='printf abc > x.raw'
same dd -f raw bs=1k count=1 if=s.raw of=x.raw
look='[ ! -e x.raw ]; echo $?' reset='rm -f x.raw'
for o in bs=0 bs= bs=3G bs=1x bs=-1 count=x count=-5 count=1Z skip=x seek=4 \
  foo conv=notrunc if=none of=no/x.raw of=/no/x.raw; do
  same dd -f raw if=s.raw of=x.raw $o
done
same dd
same dd if=s.raw
same dd a b
same dd -f nonsense if=s.raw of=x.raw
same dd -O nonsense -f raw if=s.raw of=x.raw
same dd -f qcow2 if=s.raw of=x.raw
same dd -Z if=s.raw of=x.raw
look='qemu-img info x.qcow2 | grep -v "disk size"; qemu-img compare x.qcow2 s.raw'
reset='rm -f x.qcow2'
same dd -f raw -O qcow2 if=s.raw of=x.qcow2
finish
