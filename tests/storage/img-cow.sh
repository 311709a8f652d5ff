#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# cow images as people use them: by themselves and over a base, from and to
# other formats, with what the format cannot do said in words.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

head -c 300000 /dev/urandom > data.raw
truncate -s 3M data.raw
printf more | dd of=data.raw bs=1 seek=2500000 conv=notrunc 2> /dev/null

expect 0 "Formatting 'a.cow', fmt=cow size=3145728" create -f cow a.cow 3M
expect 0 "file format: cow" info a.cow
expect 0 "No errors" check a.cow
expect 0 "OOOM" info --header a.cow
expect 0 "backing_fmt" create -f cow -o help
expect 1 "too large for file format 'cow'" create -f cow big.cow 17T
expect 1 "Backing file specified without backing format" create -f cow -b data.raw b.cow

for format in raw qcow2 cow; do
  rm -f x y
  expect 0 "" convert -f raw -O cow data.raw x
  expect 0 "" convert -O $format x y
  expect 0 identical compare -f raw -F $format data.raw y
done
[ "$("$img" checksum -f cow x)" = "$("$img" checksum -f raw data.raw | sed 's/data.raw/x/')" ]
ok $? "its checksum is the disk's"
"$img" convert -f cow -O raw - out.raw < x > scratch/out 2>&1 && cmp data.raw out.raw > scratch/cmp
ok $? "it comes from a pipe"

# Over a base: what is written, what is seen, what is merged.
expect 0 "" create -q -f cow -b data.raw -F raw o.cow
expect 0 "backing file: data.raw" info o.cow
expect 0 identical compare -f cow -F raw o.cow data.raw
expect 0 '"depth": 1' map --output=json -f cow o.cow
head -c 70000 /dev/urandom > new.raw
cp data.raw wanted.raw
dd if=new.raw of=wanted.raw bs=1000 seek=1234 conv=notrunc 2> scratch/dd
"$img" convert -f raw -O cow -B data.raw -F raw wanted.raw w.cow > scratch/out 2>&1
expect 0 identical compare -f cow -F raw w.cow wanted.raw
expect 0 "No errors" check w.cow
cp data.raw other.raw
expect 0 "" rebase -f cow -b other.raw -F raw w.cow
expect 0 "backing file: other.raw" info w.cow
expect 0 identical compare -f cow -F raw w.cow wanted.raw
expect 0 "" rebase -f cow -b "" w.cow
expect 0 identical compare -f cow -F raw w.cow wanted.raw
"$img" convert -f raw -O cow -B data.raw -F raw wanted.raw w.cow > scratch/out 2>&1
expect 0 "Image committed" commit -f cow w.cow
cmp data.raw wanted.raw > scratch/cmp
ok $? "commit puts it into the base"
expect 0 identical compare -f cow -F raw w.cow wanted.raw

# Only as far as the bitmap reaches.
expect 0 "resized" resize -f cow o.cow +64k
expect 1 "lies right behind its bitmap; convert it" resize -f cow o.cow +1G
expect 1 "cannot be shrunk" resize --shrink -f cow o.cow 1M
expect 1 "" snapshot -c one o.cow
expect 1 "" convert -c -O cow data.raw c.cow

truncate -s 100000 x
expect 2 "lie past the end of the file" check x
expect 1 "lies past the end of the file" convert -f cow -O raw x out.raw
expect 0 "" check -r all x
expect 0 "No errors" check x
finish
