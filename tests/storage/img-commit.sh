#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img commit, beside qemu-img's: what is said, and what every image of
# the chain reads afterwards.
# shellcheck disable=SC2034,SC2016 # variables of the functions, for eval
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

# Without qemu-io: an overlay of raw on raw is made from files.
head -c 3000000 /dev/urandom > wanted.raw
truncate -s 4M wanted.raw
truncate -s 1M base.raw
silent create -q -f qcow2 -b base.raw -F raw over.qcow2 4M
silent convert -n -O qcow2 wanted.raw over.qcow2
cp over.qcow2 kept.qcow2
expect 0 "Image committed." commit over.qcow2
expect 0 "Images are identical." compare -f raw -F raw wanted.raw base.raw
expect 0 "Images are identical." compare -f raw wanted.raw over.qcow2
[ "$(stat -c %s over.qcow2)" -le 524288 ]; ok $? "the overlay is empty and small"
expect 0 "No errors" check over.qcow2
truncate -s 0 base.raw
silent commit -q -d kept.qcow2
expect 0 "Images are identical." compare -f raw -F raw wanted.raw base.raw
[ "$(stat -c %s kept.qcow2)" -gt 3000000 ]; ok $? "-d leaves the overlay alone"
expect 1 "Image does not have a backing file" commit -f raw base.raw
expect 1 "Did not find 'nope' in the backing chain of 'over.qcow2'" \
  commit -b nope over.qcow2
expect 1 "Expecting one image file name" commit

# A guest must not make another format of a disk whose format nobody stated.
truncate -s 1M hold.raw
printf 'QFI\373\0\0\0\3' > sly.raw
truncate -s 1M sly.raw
cp hold.raw was.raw
silent create -q -f qcow2 -b hold.raw -F raw sly.qcow2
silent convert -n -f raw -O qcow2 sly.raw sly.qcow2
cp sly.qcow2 stated.qcow2
# The extension with the backing format gets a number that nobody knows.
at=$(LC_ALL=C grep -obUaP '\xe2\x79\x2a\xca' sly.qcow2 | head -n 1 | cut -d: -f1)
printf '\022\064\126\170' |
  dd of=sly.qcow2 bs=1 seek="$at" conv=notrunc 2> scratch/err
expect 1 "Operation not permitted" commit sly.qcow2
cmp hold.raw was.raw > scratch/out; ok $? "a probed raw base stays raw"
silent commit -q stated.qcow2
cmp hold.raw sly.raw > scratch/out; ok $? "a stated one takes any bytes"

if ! have qemu-img || ! have qemu-io; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

mkdir made
(
  cd made || exit 1
  theirs qemu-img create -q -f raw c0 10M
  theirs qemu-io -f raw -c "write -P 1 0 5M" c0
  theirs qemu-img create -q -f qcow2 -b c0 -F raw c1
  theirs qemu-io -c "write -P 2 1M 1M" c1
  theirs qemu-img create -q -f qcow2 -b c1 -F qcow2 c2 12M
  theirs qemu-io -c "write -P 3 2M 1M" -c "write -z 3M 64k" -c "write -P 4 11M 64k" \
    -c "write -P 5 4M 512" c2
  theirs qemu-img create -q -f qcow2 -o cluster_size=4k -b c2 -F qcow2 c3 6M
  theirs qemu-io -c "write -P 6 2500k 100k" -c "write -z 5M 1M" c3
) > /dev/null 2>&1
reset='rm -f c?; cp made/c? .'
look='for i in c0 c1 c2 c3; do qemu-img info $i | grep "virtual size"
"$img" convert -O raw $i r; sha256sum < r; rm r; done
for i in c1 c2 c3; do qemu-img check -q $i; echo $?; done'
same commit c2
same commit -b c0 c3
same commit -q c1
long same commit -d c2
long same commit -b c0 c2
long same commit -b c1 c3
long same commit c3
long same commit -f qcow2 -r 1G c2
long same commit -t writeback c2
look=: reset=:
cp made/c? .
for o in "-b nope c2" "-b c2 c2" "-b ./c0 c2" "" "c2 c1" "-t foo c2" \
  "-r 1x c2" "-f raw c2" "-Z c2" "-f raw c0"; do
  # shellcheck disable=SC2086 # words
  same commit $o
done

# Snapshots keep what they hold; compressed clusters and small ones as well.
reset='rm -f c?; cp made/c? .; qemu-img snapshot -c one c2; qemu-io -c "write -P 9 0 100k" c2 > /dev/null'
look='qemu-img check -q c2; echo $?; qemu-img convert -l one -O raw c2 r; sha256sum < r; rm r'
same commit c2
(cd made && theirs qemu-img convert -q -c -O qcow2 -o cluster_size=4k,compat=0.10 -B c1 -F qcow2 c2 p) 2> scratch/err
reset='rm -f c? p; cp made/* .'
look='qemu-img check -q p; echo $?; for i in c0 c1 p; do "$img" convert -O raw $i r; sha256sum < r; rm r; done'
same commit p
finish
