#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img convert: joined, from snapshots, packed, through pipes, into images
# that are there; beside qemu-img where it is there.
# shellcheck disable=SC2034,SC2016 # variables of the functions, for eval
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

head -c 3000000 /dev/urandom > noise
{ head -c 1000000 noise; head -c 2000000 /dev/zero; cat noise; } > data.raw
truncate -s 8M data.raw
head -c 700416 noise > part.raw

# Joined.
silent convert -f raw -O qcow2 part.raw data.raw part.raw joined.qcow2
cat part.raw data.raw part.raw > joined.raw
expect 0 "Images are identical." compare -f raw joined.raw joined.qcow2
expect 0 "No errors" check joined.qcow2

# A limit on the size of files is an error, no death, and leaves nothing.
(ulimit -f 1000
 "$img" convert -f raw -O raw data.raw limited.raw > scratch/out 2> scratch/err)
[ $? -eq 1 ] && grep -q "File too large" scratch/err && [ ! -e limited.raw ]
ok $? "a file that may not grow so large"

# Nor does a signal leave anything.  (SIGINT may be ignored where tests run.)
for subformat in monolithicFlat twoGbMaxExtentSparse; do
  timeout -s TERM 0.3 "$img" convert -r 1M -f raw -O vmdk \
    -o subformat=$subformat data.raw interrupted.vmdk > scratch/out 2>&1
  [ $? -eq 124 ] && ls > scratch/left && ! grep -q interrupted scratch/left
  ok $? "SIGTERM takes the extents of $subformat away"
done

# Packed, with both codecs and small clusters.
for o in compression_type=zlib compression_type=zstd cluster_size=2M cluster_size=4k; do
  silent convert -c -f raw -O qcow2 -o $o data.raw packed.qcow2
  expect 0 "Images are identical." compare -f raw data.raw packed.qcow2
  expect 0 "No errors" check packed.qcow2
done
[ "$(stat -c %s packed.qcow2)" -lt 6000000 ]; ok $? "zeros take no room"

# Smaller, or for narrow readers.
for level in 9 narrow; do
  silent convert -c --compress-level=$level -f raw -O qcow2 data.raw packed.qcow2
  expect 0 "Images are identical." compare -f raw data.raw packed.qcow2
done
expect 1 "1 to 9, or narrow" convert -c --compress-level=0 -f raw data.raw x

# Pipes.
"$img" convert -f raw -O qcow2 - fifo.qcow2 < data.raw > scratch/out 2>&1
expect 0 "Images are identical." compare -f raw data.raw fifo.qcow2
# shellcheck disable=SC2002 # a pipe is what is wanted
cat data.raw | "$img" convert -f raw -O qcow2 - fifo.qcow2 > scratch/out 2>&1
expect 0 "Images are identical." compare -f raw data.raw fifo.qcow2
# shellcheck disable=SC2002
cat fifo.qcow2 | "$img" convert - - 2> scratch/err | cmp - data.raw > scratch/out
ok $? "qcow2 from a pipe, raw into one"
"$img" convert -p -c -f raw -O qcow2 data.raw - 2> scratch/err | cat > piped.qcow2
expect 0 "Images are identical." compare -f raw data.raw piped.qcow2
"$img" convert -f raw part.raw data.raw part.raw - 2> scratch/err |
  cmp - joined.raw > scratch/out
ok $? "joined into a pipe"
# shellcheck disable=SC2002
cat data.raw | "$img" dd -f raw bs=1k skip=100 count=900 if=- of=- 2> scratch/err > cut.raw
head -c 921600 data.raw | tail -c +102401 | cmp - cut.raw > scratch/out
ok $? "dd between pipes"
if [ -w /dev/full ]; then
  "$img" convert -f raw data.raw - > /dev/full 2> scratch/err
  [ $? -eq 1 ]; ok $? "a full pipe is an error"
fi

# Into what is there: what lies behind the source's end stays.
cat noise noise noise > old.raw
truncate -s 9M old.raw
cp old.raw want.raw
dd if=data.raw of=want.raw conv=notrunc bs=1M 2> scratch/err
silent convert -n -f raw -O raw data.raw old.raw
cmp -s old.raw want.raw; ok $? "-n leaves what is behind the end"
"$img" create -q -f qcow2 n.qcow2 9M
silent convert -n --target-is-zero -f raw -O qcow2 data.raw n.qcow2
expect 0 "Images are identical." compare -f raw data.raw n.qcow2
silent convert -n -c -f raw -O qcow2 part.raw n.qcow2
expect 0 "No errors" check n.qcow2
silent convert -n -f raw --target-image-opts part.raw driver=qcow2,file.filename=n.qcow2

expect 1 "when the destination image has a backing file" convert -n \
  --target-is-zero -B n.qcow2 -F qcow2 -O qcow2 fifo.qcow2 n.qcow2

# A snapshot; bitmaps.
expect 1 "Source lacks bitmap support" convert --bitmaps -f raw -O qcow2 \
  data.raw none.qcow2
cp fifo.qcow2 snap.qcow2
"$img" snapshot -c one snap.qcow2
silent convert -n -f raw -O qcow2 part.raw snap.qcow2
silent convert -l one -O raw snap.qcow2 back.raw
cmp -s data.raw back.raw; ok $? "-l gives the disk as it was"
"$img" bitmap --add snap.qcow2 changed
silent convert --bitmaps -O qcow2 snap.qcow2 bits.qcow2
expect 0 "name: changed" info bits.qcow2

# Onto a file of the source's own chain: only what lies above it is copied.
"$img" create -q -f qcow2 -b fifo.qcow2 -F qcow2 mid.qcow2
"$img" create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
silent convert -n -f raw -O qcow2 -B fifo.qcow2 -F qcow2 part.raw mid.qcow2
silent convert -O qcow2 -B fifo.qcow2 -F qcow2 top.qcow2 flat.qcow2
expect 0 "Images are identical." compare top.qcow2 flat.qcow2
[ "$(stat -c %s flat.qcow2)" -lt 1500000 ]; ok $? "what is below is not copied"
silent convert -O qcow2 -B part.raw -F raw top.qcow2 flat.qcow2
expect 0 "Images are identical." compare top.qcow2 flat.qcow2
# shellcheck disable=SC2002
cat top.qcow2 | "$img" convert --safe -f qcow2 - - > scratch/out 2> scratch/err
[ $? -eq 1 ] && [ ! -s scratch/out ]
ok $? "--safe opens nothing that an image in a pipe names"

# Mistakes leave nothing, and leave alone what is there.
printf old > x
for o in "-O raw -c" "-O qcow2 -c -o preallocation=metadata" "-O qcow2 -o cluster_size=3" \
  "-O qcow2 -o nonsense=1" "-O qcow2 -B none -F qcow2" "-O qcow2 -B fifo.qcow2" \
  "-O raw -B fifo.qcow2 -F qcow2" "-O qcow2 -l none" "-O raw --bitmaps" \
  "-O qcow2 -o size=20M" "-O qcow2 -o compat=0.10,refcount_bits=8" "-n -O qcow2" \
  "-O qcow2 -o compat=0.10 --bitmaps" "-n -o compat=1.1" "--target-is-zero"; do
  # shellcheck disable=SC2086 # words
  expect 1 "" convert $o snap.qcow2 x
done
[ "$(cat x)" = old ]; ok $? "the old file is as it was"
rm -f x
if ! have qemu-img; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

reset='rm -f x'
look='"$img" compare x data.raw'
same convert -f raw -O qcow2 -m 4 -W -r 1G data.raw x
same convert -f raw -C data.raw x
same convert -f raw -O qcow2 --salvage -q data.raw x
look='qemu-img check -q x; echo $?; qemu-img info x | grep -A9 -i -e virtual -e bitmaps | grep -v "disk size"'
cp snap.qcow2 s.qcow2
same convert -O qcow2 -B fifo.qcow2 -F qcow2 s.qcow2 x
same convert -O qcow2 -o backing_file=fifo.qcow2,backing_fmt=qcow2 s.qcow2 x
same convert -O qcow2 -o cluster_size=4k,compat=0.10 s.qcow2 x
same convert --bitmaps -O qcow2 s.qcow2 x
same convert --image-opts driver=qcow2,file.filename=s.qcow2 -O qcow2 x
reset=: look=:
"$img" create -q -f qcow2 small.qcow2 1M
for o in "-O qcow2 -l none s.qcow2 x" "-O qcow2 -l one s.qcow2 s.qcow2 x" \
  "-O qcow2 -l snapshot.id=1 s.qcow2 x" "-O qcow2 -l snapshot.foo=1 s.qcow2 x" \
  "-c -O raw s.qcow2 x" "-c -O qcow2 -o preallocation=metadata s.qcow2 x" \
  "-O qcow2 -B fifo.qcow2 s.qcow2 x" "-O raw -B fifo.qcow2 -F qcow2 s.qcow2 x" \
  "-O qcow2 -B fifo.qcow2 -F qcow2 s.qcow2 s.qcow2 x" "-O qcow2 -F qcow2 s.qcow2 x" \
  "-n s.qcow2 none" "-n -O qcow2 -o compat=1.1 s.qcow2 x" "-S 100 s.qcow2 x" \
  "-m 0 s.qcow2 x" "-m 17 s.qcow2 x" "-C -S 4k s.qcow2 x" "-c -C -O qcow2 s.qcow2 x" \
  "--target-is-zero s.qcow2 x" "--bitmaps s.qcow2 x" \
  "--bitmaps -O qcow2 s.qcow2 s.qcow2 x" "--skip-broken-bitmaps -O qcow2 s.qcow2 x" \
  "--salvage -C -O qcow2 s.qcow2 x" "-r 1x s.qcow2 x" "-O qcow2 s.qcow2" "" \
  "-O nonsense s.qcow2 x" "-f nonsense s.qcow2 x" "-f raw none x" "s.qcow2 no/x" \
  "-O qcow2 -o foo=1 s.qcow2 x" "-O qcow2 -o cluster_size=3 s.qcow2 x" \
  "-O qcow2 -o preallocation=bad s.qcow2 x" "-O qcow2 -o compat=0.10 --bitmaps s.qcow2 x" \
  "--target-image-opts s.qcow2 driver=raw,file.filename=x" \
  "-n -O qcow2 --target-image-opts s.qcow2 driver=raw,file.filename=x" \
  "-n -O qcow2 s.qcow2 small.qcow2" "-t odd s.qcow2 x" "-T odd s.qcow2 x" "-Z s.qcow2 x"; do
  # shellcheck disable=SC2086
  long same convert $o
done
finish
