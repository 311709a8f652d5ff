#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img bitmap, beside qemu-img's; qemu-nbd reads the bits that we record.
# shellcheck disable=SC2034 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

silent create -q -f qcow2 a.qcow2 10M
silent bitmap --add -g 32k a.qcow2 b
expect 0 "name: b" info a.qcow2
expect 0 '"granularity": 32768' info --output=json a.qcow2
expect 1 "Bitmap already exists: b" bitmap --add a.qcow2 b
expect 1 "Dirty bitmap 'c' not found" bitmap --clear a.qcow2 c
expect 1 "Operation disable on bitmap c failed" bitmap --disable --remove \
  a.qcow2 c
expect 1 "Need at least one of" bitmap a.qcow2 b
silent create -q -f raw r.raw 1M
expect 1 "Can't store persistent bitmaps" bitmap --add -f raw r.raw b
silent create -q -f qcow2 -o compat=0.10 old.qcow2 1M
expect 1 "Cannot store dirty bitmaps in qcow2 v2 files" bitmap --add old.qcow2 b
expect 0 "No errors" check a.qcow2
# A bitmap whose table lies nowhere is told of; a repair does not turn the
# image over for it, and the disk reads as before.
at () { od -An -tu1 -j "$2" -N 8 "$1" | awk '{ for (i = 1; i <= 8; i++) n = n * 256 + $i; print n }'; }
head -c 1M /dev/urandom > bits.raw
"$img" convert -f raw -O qcow2 bits.raw sound.qcow2
"$img" bitmap --add --disable sound.qcow2 b
mark=$(LC_ALL=C grep -abo -m1 -P '\x23\x85\x28\x75' sound.qcow2 | head -n 1 | cut -d: -f1)
entry=$(at sound.qcow2 $((mark + 24)))
cp sound.qcow2 far.qcow2
printf '\0\0\0\007\360\0\0\0' | dd of=far.qcow2 bs=1 seek="$entry" conv=notrunc 2> /dev/null
cp sound.qcow2 odd.qcow2
printf '\002' | dd of=odd.qcow2 bs=1 seek=$((entry + 6)) conv=notrunc 2> /dev/null
expect 2 "exceeding the end of the file" check far.qcow2
expect 2 "is misaligned" check odd.qcow2
for name in far odd; do
  "$img" check -r all $name.qcow2 > said 2>&1
  [ $? -eq 2 ] && ! grep -q Rebuilding said
  ok $? "check -r all $name.qcow2 says that it is still broken"
  "$img" check $name.qcow2 > said 2>&1
  grep -q "^1 errors" said
  ok $? "$name.qcow2 is not worse than before"
  expect 0 "identical" compare -f raw -F qcow2 bits.raw $name.qcow2
done

if ! have qemu-img; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

# An image with two bitmaps, one of which has seen a write.
qemu-img create -q -f qcow2 base.qcow2 10M
qemu-img bitmap --add -g 32k base.qcow2 b1
qemu-img bitmap --add --disable base.qcow2 b2
qemu-io -c "write 1M 100k" base.qcow2 > /dev/null
cp base.qcow2 other.qcow2
qemu-io -c "write 5M 1M" other.qcow2 > /dev/null

reset='cp base.qcow2 x.qcow2'
look='qemu-img info x.qcow2 | sed -n "/bitmaps/,/refcount/p"; qemu-img check -q x.qcow2; echo $?'
for o in "--add --merge b1 --disable x.qcow2 n" "--remove x.qcow2 b1" \
  "--clear --remove --add x.qcow2 b1" "--remove --clear x.qcow2 b1" \
  "--merge b1 -b other.qcow2 -F qcow2 x.qcow2 b2" "--add -g 3 x.qcow2 n"; do
  # shellcheck disable=SC2086 # words
  same bitmap $o
done
for o in "--add x.qcow2" "--add x.qcow2 n" "--add -g 512 x.qcow2 n" \
  "--add -g 2G x.qcow2 n" "--add -g 256 x.qcow2 n" "--remove x.qcow2 n" \
  "--clear x.qcow2 b1" "--enable x.qcow2 b2" "--disable x.qcow2 b1" \
  "--merge b1 x.qcow2 b2" "--merge n x.qcow2 b2" "--merge b1 x.qcow2 n" \
  "--merge b1 -b other.qcow2 x.qcow2 b2" "-g 64k --clear x.qcow2 b1" \
  "-b other.qcow2 --add x.qcow2 n" "-F qcow2 --add x.qcow2 n" \
  "--merge b1 -b none x.qcow2 b1" "--add none n" "x.qcow2 b1" \
  "--add x.qcow2 n m" "--add -f qcow2 x.qcow2 n"; do
  # shellcheck disable=SC2086 # words
  long same bitmap $o
done
look='qemu-img check -q x.qcow2; echo $?'
same info x.qcow2
same info --output=json x.qcow2
same check --output=json x.qcow2

if ! have qemu-nbd; then
  skip "qemu-nbd is not there to read bits" "bits"
  finish
  exit 0
fi
# bits IMAGE BITMAP: what has changed, as qemu sees it
bits () {
  rm -f socket
  qemu-nbd -r -f qcow2 -B "$2" -k "$dir/socket" -t "$1" & nbd=$!
  for _ in $(seq 200); do
    [ ! -S socket ] || break
    sleep 0.02
  done
  qemu-img map --output=json --image-opts \
    "driver=nbd,server.type=unix,server.path=$dir/socket,x-dirty-bitmap=qemu:dirty-bitmap:$2"
  kill $nbd
  wait $nbd 2> /dev/null
}
cp base.qcow2 ours.qcow2
cp base.qcow2 theirs.qcow2
"$img" bench -w -c 3 -s 100k -o 3M ours.qcow2 > /dev/null
qemu-img bench -f qcow2 -w -c 3 -s 100k -o 3M theirs.qcow2 > /dev/null
bits ours.qcow2 b1 > ours.bits
bits theirs.qcow2 b1 > theirs.bits
grep -q '"data": false' theirs.bits && cmp -s ours.bits theirs.bits
ok $? "what we record qemu reads"
"$img" resize -q ours.qcow2 20M
"$img" bitmap --merge b1 ours.qcow2 b2
bits ours.qcow2 b2 > merged.bits
"$img" bitmap --clear ours.qcow2 b1
bits ours.qcow2 b1 > cleared.bits
grep -q '"data": false' merged.bits && ! grep -q '"data": false' cleared.bits
ok $? "and what we merge and clear"
qemu-img check -q ours.qcow2; ok $? "and finds no fault"
finish
