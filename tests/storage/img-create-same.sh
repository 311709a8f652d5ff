#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What create makes beside what qemu-img makes for the same words: as long, and
# with the same first cluster, so the same features, names and tables' places.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
if ! command -v qemu-img > /dev/null; then
  echo "1..0 # SKIP qemu-img is not there to compare with"
  exit 77
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/vprov-create-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99
n=0

ok () {
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

# same_image BYTES SIZE OPTION...: BYTES from the beginning are equal
same_image () {
  bytes=$1 size=$2
  shift 2
  rm -f theirs ours
  qemu-img create -q -f qcow2 "$@" theirs "$size" 2> /dev/null
  "$img" create -q -f qcow2 "$@" ours "$size"
  [ "$(stat -c %s theirs)" = "$(stat -c %s ours)" ] &&
    cmp -s -n "$bytes" theirs ours && qemu-img check -q ours
  ok $? "create $size $*"
}

truncate -s 5M five
"$img" create -q -f qcow2 base 1G
for size in 0 1M 100G; do
  same_image 65536 "$size"
  same_image 65536 "$size" -o extended_l2=on
done
same_image 65536 5T
for cluster in 4k 8k 2M; do
  same_image 4096 1G -o cluster_size=$cluster
  same_image 4096 1G -o cluster_size=$cluster,compat=0.10
done
# Beyond one cluster of refcounts qemu-img moves its tables about.
same_image 24 1G -o cluster_size=512
same_image 512 1M -o cluster_size=512
for bits in 1 8 64; do same_image 65536 10G -o refcount_bits=$bits; done
same_image 65536 1G -o lazy_refcounts=on
same_image 65536 1G -o compression_type=zstd
same_image 65536 1G -b base -F qcow2
same_image 65536 3G -b base -F qcow2 -o extended_l2=on
same_image 65536 1G -o data_file=d
same_image 65536 1G -o data_file=d,data_file_raw=on
[ "$(stat -c %s d)" = 1073741824 ]; ok $? "a data file is as long as the disk"
same_image 65536 10M -o preallocation=metadata
same_image 65536 10M -o preallocation=metadata,extended_l2=on
# Here it moves its tables, too.
same_image 48 10M -o preallocation=falloc
same_image 48 10M -o preallocation=full
same_image 16384 10M -o preallocation=metadata,extended_l2=on,cluster_size=16k -b base -F qcow2
for mode in falloc full; do
  rm -f theirs ours
  qemu-img create -q -f raw -o preallocation=$mode theirs 1000001
  "$img" create -q -f raw -o preallocation=$mode ours 1000001
  [ "$(stat -c '%s %b' theirs)" = "$(stat -c '%s %b' ours)" ]
  ok $? "create raw, preallocation=$mode"
done

# An old file is not touched where the words are wrong.
echo precious > old
for options in cluster_size=100 cluster_size=512,extended_l2=on \
  compat=0.10,lazy_refcounts=on data_file_raw=on refcount_bits=3 \
  preallocation=some compat=0.10,data_file=d3 nonsense=1; do
  "$img" create -q -f qcow2 -o $options old 1M 2> /dev/null
  [ $? -eq 1 ] && grep -q precious old && ! [ -e d3 ]
  ok $? "create -o $options changes nothing"
done

# Growing with places.
for mode in off metadata falloc full; do
  for options in extended_l2=on data_file=g,data_file_raw=on; do
    rm -f ours g
    "$img" create -q -f qcow2 -o $options ours 1M &&
      "$img" resize -q --preallocation=$mode ours 5M &&
      qemu-img check -q ours && qemu-img compare -q -f qcow2 -F raw ours five
    ok $? "resize --preallocation=$mode, $options"
  done
done
echo "1..$n"
