#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img measure: the very numbers of qemu-img.
# shellcheck disable=SC2034 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

expect 0 "required size: 1073741824" measure --size 1G
expect 0 "fully allocated size: 1074135040" measure -O qcow2 --size 1G
expect 0 '"required": 393216,' measure -O qcow2 --size 1G --output=json
expect 0 "required size: 2490368" measure --object secret,id=s,data=abc --size 1G \
  -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s
expect 1 "Either --size N or one filename must be specified." measure
if ! have qemu-img; then
  skip "qemu-img is not there to compare with" "numbers"
  finish
  exit 0
fi

for cs in 512 4k 64k 2M; do
  for bits in 1 16 64; do
    long same measure -O qcow2 -o cluster_size=$cs,refcount_bits=$bits --size 100G
  done
  for size in 0 1 512 65537 3000001; do
    long same measure -O qcow2 -o cluster_size=$cs --size $size
  done
  same measure -O qcow2 -o cluster_size=$cs,refcount_bits=1 --size 1T
  long same measure -O qcow2 -o cluster_size=$cs,compat=0.10 --size 10G
done
for how in off metadata falloc full; do
  same measure -O qcow2 -o preallocation=$how --size 1G
done
for o in cluster_size=3 extended_l2=on,cluster_size=4k \
  extended_l2=on extended_l2=on,cluster_size=16k \
  compat=0.10,refcount_bits=1 refcount_bits=3 size=2G lazy_refcounts=on backing_file=x \
  compression_type=zstd foo=1; do
  same measure -O qcow2 -o $o --size 1G
done
for o in encrypt.format=luks,encrypt.key-secret=s \
  encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128 \
  encrypt.format=luks,encrypt.key-secret=s,cluster_size=512; do
  long same measure --object secret,id=s,data=abc --size 1G -O qcow2 \
    -o $o,encrypt.iter-time=10
done
same measure --size 1G -O qcow2 -o encrypt.format=luks
same measure --size 1000
same measure --size 1000 --output=json
same measure -O raw -o preallocation=full --size 1000
same measure -O raw -o foo=1 --size 1000
for size in 7E 8E x -5 1Q ""; do
  same measure --size "$size"
  same measure -O qcow2 --size "$size"
done
same measure -O nonsense --size 1G
same measure --size 1G -f raw
same measure --size 1G x
same measure x x
same measure none
same measure --output=xml --size 1G

# What is in an image.
theirs qemu-img create -q -f qcow2 a.qcow2 1G
theirs qemu-io -c "write 1M 3M" -c "write -z 5M 1M" -c "write 100M 1000" \
  -c "write 777M 70k" a.qcow2 > /dev/null
theirs qemu-img snapshot -c one a.qcow2
theirs qemu-io -c "write 300M 3M" a.qcow2 > /dev/null
theirs qemu-img bitmap --add a.qcow2 first
theirs qemu-img bitmap --add -g 4k a.qcow2 "another one"
theirs qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2 2G
theirs qemu-io -c "write 1G 70k" -c "write -z 1M 64k" over.qcow2 > /dev/null
theirs qemu-img convert -c -O qcow2 a.qcow2 packed.qcow2
theirs qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 100M
head -c 3000001 /dev/urandom > odd.raw
truncate -s 5M sparse.raw
printf x | dd of=sparse.raw bs=1 seek=2100000 conv=notrunc 2> /dev/null
for i in a.qcow2 "-f raw sparse.raw"; do
  # shellcheck disable=SC2086 # words
  same measure -O qcow2 -o cluster_size=4k $i
done
for i in a.qcow2 over.qcow2 packed.qcow2 old.qcow2 "-f raw odd.raw" \
  "-f raw sparse.raw"; do
  for o in cluster_size=512 cluster_size=64k cluster_size=2M compat=0.10 \
    preallocation=full backing_file=x; do
    # shellcheck disable=SC2086 # words
    long same measure -O qcow2 -o $o $i
  done
  # shellcheck disable=SC2086
  long same measure $i
done
same measure -O qcow2 --output=json a.qcow2
same measure -f qcow2 odd.raw
same measure -O qcow2 -l one a.qcow2
same measure -O qcow2 -l snapshot.name=one a.qcow2
same measure -O qcow2 -l snapshot.nonsense=one a.qcow2
same measure -O qcow2 -l none a.qcow2
finish
