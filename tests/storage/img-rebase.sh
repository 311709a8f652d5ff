#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img rebase, beside qemu-img's: what is said, which bytes the image
# reads, and that it checks clean.
# shellcheck disable=SC2034,SC2016 # variables of the functions, for eval
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

head -c 3000000 /dev/urandom > wanted.raw
truncate -s 4M wanted.raw
head -c 1000000 wanted.raw > other.raw
silent create -q -f qcow2 -b wanted.raw -F raw over.qcow2
silent rebase -b other.raw -F raw over.qcow2
expect 0 "backing file: other.raw" info over.qcow2
expect 0 "Images are identical." compare -f raw wanted.raw over.qcow2
expect 0 "No errors" check over.qcow2
silent rebase -c -b "" over.qcow2
expect 0 "Images are identical." compare -f raw wanted.raw over.qcow2
silent rebase -u -b none -F raw over.qcow2
expect 0 "backing file: none" info over.qcow2
# What no backing file held before is still zero under a new one.
head -c 4M /dev/zero | tr '\0' x > below.raw
cp other.raw bare.raw
truncate -s 4M bare.raw
for compat in 0.10 1.1; do
  silent convert -O qcow2 -o compat=$compat bare.raw bare.qcow2
  silent rebase -b below.raw -F raw bare.qcow2
  expect 0 "Images are identical." compare -F raw bare.qcow2 bare.raw
  expect 0 "No errors" check bare.qcow2
done
silent create -q -f qcow2 -o data_file=data.raw,data_file_raw=on own.qcow2 4M
expect 1 "Invalid argument" rebase -u -b below.raw -F raw own.qcow2
expect 0 "No errors" check own.qcow2
expect 1 "Must specify backing file (-b) or use unsafe mode (-u)" rebase over.qcow2
expect 1 "backing format must be specified" rebase -u -b wanted.raw over.qcow2
expect 1 "Operation not supported" rebase -f raw -b other.raw -F raw wanted.raw
# A key has no place in the image; nothing is changed where one is needed.
key='--object secret,id=k,data=abc'
# shellcheck disable=SC2086 # two words
silent create -q -f qcow2 $key -o encrypt.format=aes,encrypt.key-secret=k secret.qcow2 4M
silent create -q -f qcow2 -b wanted.raw -F raw over.qcow2
expect 1 "'encrypt.key-secret' is required" rebase -b secret.qcow2 -F qcow2 over.qcow2
# shellcheck disable=SC2086
expect 1 "names its backing file by a path only" rebase $key -F qcow2 over.qcow2 \
  -b 'json:{"driver":"qcow2","encrypt.key-secret":"k","file.filename":"secret.qcow2"}'
expect 0 "backing file: wanted.raw" info over.qcow2
silent rebase -u -b secret.qcow2 -F qcow2 over.qcow2
if ! have qemu-img || ! have qemu-io; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

mkdir made
(
  cd made || exit 1
  theirs qemu-img create -q -f raw r0 10M
  theirs qemu-io -f raw -c "write -P 1 0 5M" r0
  theirs qemu-img create -q -f qcow2 r1 10M
  theirs qemu-io -c "write -P 1 1M 1M" -c "write -P 9 7M 1M" -c "write -P 7 4M 3k" r1
  theirs qemu-img create -q -f raw small 1M
  theirs qemu-img create -q -f qcow2 large 20M
  theirs qemu-io -c "write -P 8 11500k 2M" large
  for i in r2:1.1:64k r3:0.10:64k r4:1.1:4k r5:1.1:2M; do
    n=${i%%:*} i=${i#*:}
    theirs qemu-img create -q -f qcow2 -o "compat=${i%:*},cluster_size=${i#*:}" \
      -b r0 -F raw "$n" 12M
    theirs qemu-io -c "write -P 3 2M 1M" -c "write -z 3M 64k" -c "write -P 4 11M 64k" "$n"
  done
  theirs qemu-img create -q -f qcow2 -b r2 -F qcow2 top 8M
  theirs qemu-io -c "write -P 5 6M 1000" top
) > /dev/null 2>&1
reset='rm -rf r? top small large; cp made/* .'
look='qemu-img info $i | grep -i -E "^image|virtual|backing"; qemu-img check -q $i; echo $?
"$img" convert -O raw $i raw && sha256sum < raw; rm -f raw'
for i in r2 r3 r4 r5; do
  same rebase -b large -F qcow2 $i
  long same rebase -b r1 -F qcow2 $i
  long same rebase -b "" $i
  long same rebase -b small -F raw $i
done
i=top
same rebase -b r0 -F raw top
for o in "-b r1 -F qcow2" "-b large -F qcow2" "-f qcow2 -b small -F raw" \
  "-u -b small -F raw" "-u -b r1 -F qcow2" "-U -q -b r0 -F raw"; do
  # shellcheck disable=SC2086 # words
  long same rebase $o top
done
same rebase -u -b "" -F raw top
long same rebase -u -b "" top
long same rebase -b "" -F raw top
reset=: look=:
cp made/* .
for o in "-b r1 r2" "-u -b r1 r2" "-F raw r2" "r2" "-b r1 -F foo r2" \
  "-u -b r1 -F foo r2" "-b r1 -F raw -f raw r0" "" "-b r1 -F qcow2 -t foo r2" \
  "-b r1 -F qcow2 -T foo r2" "-b r1 -F qcow2 r2 r1" "-b nope -F raw r2"; do
  # shellcheck disable=SC2086
  same rebase $o
done
finish
