#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Extended L2 and external data files beside qemu-img: what it has written we
# tell and read as it does, what we write it finds sound and equal.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

for tool in qemu-img qemu-io; do
  if ! have $tool; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done

fill () { # FILE
  theirs qemu-io -f qcow2 -c "write -P 1 3k 1k" -c "write -P 2 100k 10k" \
    -c "write -z 64k 4k" -c "write -z 200k 70k" -c "write -P 3 1M 1M" \
    -c "discard 1100k 6k" -c "discard 1280k 64k" -c "write -z 1500k 4k" \
    -c "write -z -u 1600k 64k" "$1" > /dev/null
}

"$img" create -q -f raw base.raw 4M
theirs qemu-io -f raw -c "write -P 5 0 4M" base.raw > /dev/null
made () { theirs qemu-img create -q -f qcow2 "$@"; }
made -o extended_l2=on alone.qcow2 4M
made -o extended_l2=on -b base.raw -F raw over.qcow2 6M
made -o extended_l2=on,preallocation=metadata -b base.raw -F raw full.qcow2
made -o extended_l2=on,cluster_size=2M -b base.raw -F raw wide.qcow2
made -o data_file=d.raw data.qcow2 4M
made -o data_file=r.raw,data_file_raw=on raw.qcow2 4M
made -o data_file=e.raw,extended_l2=on -b base.raw -F raw both.qcow2

for i in alone over full wide data raw both; do
  fill $i.qcow2
  for verb in info map check; do
    same $verb --output=json $i.qcow2
  done
  same map $i.qcow2
  theirs qemu-img convert -O raw $i.qcow2 one
  "$img" convert -O raw $i.qcow2 two && cmp one two
  ok $? "$i.qcow2 reads the same"
  # On with our writes, over theirs.
  "$img" resize -q $i.qcow2 +1M &&
    "$img" convert -n -O qcow2 base.raw $i.qcow2 &&
    theirs qemu-img check -q $i.qcow2 &&
    theirs qemu-img compare -q -f raw -F qcow2 base.raw $i.qcow2
  ok $? "$i.qcow2 takes our bytes"
done
theirs qemu-img convert -O raw raw.qcow2 one && cmp -s one r.raw
ok $? "a raw data file is the disk"

# A subcluster that is written takes no more of the base than it must.
made -o extended_l2=on -b base.raw -F raw thin.qcow2
theirs qemu-io -f qcow2 -c "write -P 9 65k 512" thin.qcow2 > /dev/null
same map --output=json thin.qcow2

# The names in an image.
expect 1 "Could not open 'gone'" create -q -f qcow2 -b gone -F qcow2 -o data_file=z.raw z.qcow2
[ ! -e z.raw ]; ok $? "a data file is not made for an image that is not"
mv d.raw away
expect 1 "Could not open 'd.raw'" convert -O raw data.qcow2 three
expect 0 "data file: d.raw" info --safe -f qcow2 data.qcow2
mv away d.raw
expect 1 "one file" create -q -f qcow2 -o data_file=same.qcow2 same.qcow2 1M
expect 1 "" convert -c -O qcow2 -o data_file=c.raw base.raw c.qcow2
for options in "" data_file_raw=on; do
  rm -f t.qcow2 t.raw
  "$img" convert -O qcow2 -o data_file=t.raw${options:+,$options} over.qcow2 t.qcow2 &&
    theirs qemu-img check -q t.qcow2 && theirs qemu-img compare -q over.qcow2 t.qcow2
  ok $? "convert into a data file ${options:-plain}"
done
finish
