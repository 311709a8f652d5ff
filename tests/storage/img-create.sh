#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img create, beside qemu-img's: the line that it says, the mistakes that
# it refuses, and the image.
# shellcheck disable=SC2034 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

expect 0 "Supported qcow2 options:" create -f qcow2 -o help
expect 0 "  cluster_size=<size>    - " create -f qcow2 -o help
expect 0 "  nocow=<bool (on/off)>  - " create -f raw -o help x
[ ! -e x ]; ok $? "help makes nothing"
if ! have qemu-img; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

theirs qemu-img create -q -f qcow2 base.qcow2 10M
truncate -s 3000001 base.raw
reset='rm -f x d'
look='qemu-img info -U x 2> /dev/null | grep -v -e "disk size" -e "data file"; [ -e x ]; echo $?'
for o in cluster_size=4k compat=v3 compat=0.10 lazy_refcounts=on \
  compression_type=zstd extended_l2=on refcount_bits=1 preallocation=metadata \
  preallocation=off,preallocation=falloc cluster_size=128k,lazy_refcounts=on \
  nocow=on,extent_size_hint=1M \
  data_file=d data_file=d,data_file_raw=on,preallocation=full; do
  long same create -f qcow2 -o $o x 1M
done
same create -q -f qcow2 x 5M
same create -f qcow2 -o size=5M x
same create -f qcow2 -o cluster_size=4k -o lazy_refcounts=on x 3000001
same create -f raw x 1001
same create -f raw -o preallocation=full,nocow=on,extent_size_hint=0,size=3k x
same create -f raw -o preallocation=off x 1M
same create "x y'z" 1M
same create -f qcow2 -b base.qcow2 -F qcow2 x
same create -f qcow2 -b base.raw -F raw x
same create -f qcow2 -b base.raw -F raw x 1M
same create -f qcow2 -u -b none -F raw x 1M
same create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 x
same create -f qcow2 -b base.qcow2 -o preallocation=metadata,extended_l2=on -F qcow2 x

same create -f qcow2 -o lazy_refcounts=on,cluster_size=4k,compat=1.1 x 1M

# Mistakes; nothing is left behind.
look=:
for o in preallocation=bad refcount_bits=3 refcount_bits=0 refcount_bits=x compat=1 \
  compression_type=lz4 lazy_refcounts=maybe cluster_size=1k5 cluster_size=3 \
  compat=0.10,lazy_refcounts=on compat=v2,refcount_bits=8 \
  compat=0.10,compression_type=zstd extended_l2=on,compat=0.10 \
  extended_l2=on,cluster_size=4k data_file_raw=on data_file=d,compat=0.10 \
  nonsense=1 backing_file= backing_fmt=raw backing_file=none,backing_fmt=raw; do
  rm -f x
  "$img" create -f qcow2 -o $o x 1M > scratch/out 2>&1
  [ ! -e x ]; ok $? "-o $o leaves no file"
  long same create -f qcow2 -o $o x 1M
done
reset='rm -f x'
for o in "" "-f qcow2 x" "-f qcow2 x 1M 2M" "-f qcow2 x 1Q" "-f qcow2 -o size=5M x 6M" \
  "-f qcow2 -b none -F qcow2 x" "-f qcow2 -b none -F qcow2 x 1M" \
  "-f qcow2 -b base.raw -F qcow2 x 1M" "-f qcow2 -u -b none x 1M" \
  "-f qcow2 -b base.qcow2 -F nonsense x 1M" "-f qcow2 -F raw x 1M" \
  "-b base.raw -F raw x" "-f nonsense x 1M" "-f qcow2 -b x -F qcow2 x" "-f"; do
  # shellcheck disable=SC2086 # words
  long same create $o
done
same create -f qcow2 -b "" -F raw x 1M
same create no/x 1M
expect 1 "Detected format of qcow2." create -f qcow2 -b base.qcow2 x 1M
finish
