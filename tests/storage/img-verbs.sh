#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img as its users call it: verbs, options, exit statuses, messages, and
# what a failure leaves behind (nothing).
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

expect 1 "Not enough arguments"
expect 0 "usage: vprov-img" --help
expect 0 "vprov-img version" --version
expect 1 "Command not found: dance" dance
expect 1 "unrecognized option '--dance'" --dance
for verb in amend bench check commit compare convert create dd info map measure \
  rebase resize snapshot; do
  expect 0 "usage: vprov-img $verb " $verb --help
done
expect 1 "worker is started by the daemon" worker

# The name it is called by.
ln -s "$img" qemu-img
img_was=$img img=$dir/qemu-img
expect 1 "qemu-img: Could not open 'none': " info none
expect 1 "Try 'qemu-img --help' for more information" dance
expect 0 "usage: qemu-img check " check --help
expect 0 "qemu-img version 7.2.0 (vprov-img " --version
img=$img_was
expect 0 "vprov-img version 0" -V
expect 1 "Command not found: dance" -T x dance
expect 1 "warning: -T: there is nothing to trace here" --trace=x dance

# create
expect 0 "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536" create -f qcow2 a.qcow2 10M
expect 0 "Formatting 'r.raw', fmt=raw size=1572864" create r.raw 1.5M
silent create -q -f qcow2 b.qcow2 10M
expect 0 "Supported qcow2 options:" create -f qcow2 -o help
expect 1 "Expecting image file name" create
expect 1 "x: Image creation needs a size parameter" create -f qcow2 x
expect 1 "Invalid image size specified" create -f qcow2 x 1Q
expect 1 "Invalid image size specified" create -f qcow2 x -- -1
expect 1 "Unexpected argument: y" create -f qcow2 x 1M y
expect 1 "x: Unknown file format 'nonsense'" create -f nonsense x 1M
expect 1 "x: Invalid parameter 'nonsense'" create -f qcow2 -o nonsense=1 x 1M
expect 1 "x: " create -f qcow2 -o cluster_size=3 x 1M
expect 1 "The image size must be specified only once" create -f qcow2 -o size=1M x 1M
expect 1 "Backing file specified without backing format" create -f qcow2 -b a.qcow2 x
expect 1 "Backing format cannot be used without backing file" create -f qcow2 -F raw x 1M
expect 1 "Backing file not supported for file format 'raw'" create -b a.qcow2 -F qcow2 x
expect 1 "No such file" create -f qcow2 -b none -F qcow2 x
expect 1 "Parameter 'id' is missing" create --object secret x 1M
expect 1 "No such file" create -f qcow2 no/such/folder 1M
expect 1 "missing argument for option '-f'" create -f
expect 1 "unrecognized option '-Z'" create -Z x 1M
[ ! -e x ]; ok $? "failures leave no file"
expect 0 "backing_file=a.qcow2 backing_fmt=qcow2" create -f qcow2 -b a.qcow2 -F qcow2 o.qcow2
expect 0 "virtual size: 10 MiB (10485760 bytes)" info o.qcow2
expect 0 "size=20971520" create -f qcow2 -b a.qcow2 -F qcow2 p.qcow2 20M
expect 0 "backing_file=none" create -u -f qcow2 -b none -F qcow2 u.qcow2 1M
expect 0 "" create -q -f qcow2 -o cluster_size=4k,compat=0.10 old.qcow2 1M
expect 0 "cluster_size: 4096" info old.qcow2

# info
expect 1 "Expecting one image file name" info
expect 1 "Could not open 'none': No such file or directory" info none
expect 1 "Could not open 'r.raw': " info -f qcow2 r.raw
expect 1 "--output must be used with human or json as argument." info --output=xml a.qcow2
expect 0 '"virtual-size": 10485760' info --output=json a.qcow2
expect 0 "file format: raw" info -f raw a.qcow2
expect 0 "image: a.qcow2" info --backing-chain o.qcow2
expect 0 "backing file: none" info u.qcow2
expect 1 "Could not open 'none'" info --backing-chain u.qcow2
expect 1 "--safe guesses no format" info --safe a.qcow2
expect 1 "does not go with --backing-chain" info --safe -f qcow2 --backing-chain a.qcow2
expect 0 "backing file: a.qcow2" info --safe -f qcow2 o.qcow2
expect 0 "No errors" check --safe -f qcow2 o.qcow2
expect 1 "Could not open backing file" map --safe -f qcow2 o.qcow2
expect 1 "Could not open backing file" convert --safe -f qcow2 -O raw o.qcow2 x
expect 1 "--safe guesses no format" convert --safe a.qcow2 x
for verb in check map; do
  expect 1 "--safe guesses no format" $verb --safe a.qcow2
  expect 1 "--safe guesses no format" $verb --safe --image-opts driver=qcow2,file.filename=a.qcow2
done

# info --header
expect 0 "20      4       cluster_bits                      0x10                65536 bytes a cluster" info --header a.qcow2
expect 0 "extension: backing file format    0xe2792aca          qcow2" info --header o.qcow2
expect 0 '"meaning": "compat 1.1"' info --header --output=json a.qcow2
expect 1 "r.raw: raw images have no header" info --header -f raw r.raw
printf 'QFI\373\0\0\0\3junk' > junk.qcow2
expect 0 "compat 1.1" info --header junk.qcow2
expect 0 "" create -q -u -f qcow2 -b ./loop.qcow2 -F qcow2 loop.qcow2 1M
expect 1 "loop.qcow2" info --backing-chain loop.qcow2

esc=$(printf 'x\033[31my')
"$img" create -q -u -f qcow2 -b "$esc" -F raw esc.qcow2 1M
expect 0 'backing file: x\x1b[31my' info esc.qcow2
expect 0 '"backing-filename": "x\u001B[31my"' info --output=json esc.qcow2
expect 1 'x\x1b[31my' map esc.qcow2
"$img" map esc.qcow2 > scratch/out 2> scratch/err
if grep -q "$(printf '\033')" scratch/out scratch/err; then r=1; else r=0; fi
ok $r "no escape sequence reaches the terminal"

# check
expect 1 "does not go with --output=json" check --progress --output=json a.qcow2
expect 0 "No errors were found on the image." check a.qcow2
expect 0 '"check-errors": 0' check --output=json a.qcow2
silent check -q a.qcow2
expect 63 "This image format does not support checks" check r.raw
expect 1 "Could not open 'none'" check none
expect 1 "expecting 'leaks' or 'all'" check -r some a.qcow2
expect 1 "Invalid source cache option: odd" check -T odd a.qcow2

# resize
expect 0 "Image resized." resize b.qcow2 +5M
expect 0 "(15728640 bytes)" info b.qcow2
silent resize -q b.qcow2 20M
expect 0 "(20971520 bytes)" info b.qcow2
expect 1 "Use the --shrink option to perform a shrink operation." resize b.qcow2 -1M
expect 1 "Preallocation can only be used for growing images" \
  resize --shrink --preallocation=full b.qcow2 1M
expect 0 "Image resized." resize --shrink b.qcow2 -10M
expect 0 "(10485760 bytes)" info b.qcow2
silent resize -q b.qcow2 20M
silent check -q b.qcow2
expect 1 "New image size must be positive" resize b.qcow2 -1G
expect 1 "New image size must be positive" resize b.qcow2 0
expect 1 "Parameter 'size' expects a non-negative number" resize b.qcow2 +1Q
expect 1 "b.qcow2: " resize b.qcow2 +7E
expect 1 "Not enough arguments" resize b.qcow2
expect 1 "Invalid preallocation mode 'odd'" resize --preallocation=odd b.qcow2 +1M
expect 0 "" resize --preallocation=off -f raw r.raw 2M
expect 0 "" resize --shrink -f raw r.raw 1M
silent create -q -f qcow2 -o data_file=guest.data d.qcow2 4M
expect 0 "" bench -w -c 4 -s 1M -f qcow2 d.qcow2
silent resize -q --shrink d.qcow2 1M
[ "$(stat -c %s guest.data)" = 1048576 ]; ok $? "a data file shrinks with its image"
expect 0 "virtual size: 0 B (0 bytes)" info /dev/null
expect 0 "magic" info --header file:b.qcow2
expect 1 "--header takes the path of a file" info --header --image-opts \
  driver=qcow2,file.filename=b.qcow2
expect 1 "to be a regular file" info --safe -f raw /dev/null
expect 0 "(20971520 bytes)" info b.qcow2

# convert and compare
head -c 3000000 /dev/urandom > data.raw
truncate -s 8M data.raw
silent convert -O qcow2 data.raw c.qcow2
silent convert -f raw -O qcow2 -t none -T none -m 8 -W data.raw c2.qcow2

# Tables and bytes that cannot be read are two faults.  Here the first entry of
# the L1 table is misaligned.
silent convert -f raw -O qcow2 -S 0 data.raw broken.qcow2
l1=$(od -An -tu1 -j 45 -N 3 broken.qcow2 |
  awk '{ print ($1 * 256 + $2) * 256 + $3 }')
printf '\200\0\0\0\0\005\002\0' |
  dd of=broken.qcow2 bs=1 seek="$l1" conv=notrunc 2> /dev/null
expect 3 "Sector allocation test failed for broken.qcow2" \
  compare data.raw broken.qcow2

# A raw disk that was only guessed to be one is not made an image.
truncate -s 16M guessed.raw
expect 1 "Operation not permitted" \
  convert -n -f raw --target-image-opts c.qcow2 file.filename=guessed.raw
expect 1 "probing guessed raw" \
  convert -n -f raw --target-image-opts c.qcow2 file.filename=guessed.raw
expect 0 "file format: raw" info guessed.raw
silent convert -n -f raw --target-image-opts c.qcow2 \
  driver=raw,file.filename=guessed.raw
expect 0 "file format: qcow2" info guessed.raw

# Cache modes change how bytes get to the disk, not which.
for mode in none off writeback unsafe writethrough directsync; do
  rm -f mode.qcow2
  silent convert -t $mode -T $mode -f raw -O qcow2 data.raw mode.qcow2
  expect 0 identical compare -T $mode -f raw -F qcow2 data.raw mode.qcow2
done
silent convert -f raw --target-image-opts -n data.raw \
  driver=qcow2,file.filename=mode.qcow2,cache.direct=on,cache.no-flush=on
expect 0 identical compare -f raw -F qcow2 data.raw mode.qcow2
silent convert -O raw c.qcow2 back.raw
cmp -s data.raw back.raw; ok $? "raw -> qcow2 -> raw gives the same bytes"
expect 0 "Images are identical." compare data.raw c.qcow2
silent compare -q -f raw -F qcow2 data.raw c.qcow2
expect 1 "Content mismatch at offset 0!" compare data.raw a.qcow2
expect 0 "Images are identical." compare a.qcow2 p.qcow2
expect 0 "Warning: Image size mismatch!" compare a.qcow2 p.qcow2
expect 1 "Strict mode: Image size mismatch!" compare -s a.qcow2 p.qcow2
expect 2 "Could not open 'none'" compare none a.qcow2
expect 2 "Could not open 'none'" compare a.qcow2 none
expect 1 "Expecting two image file names" compare a.qcow2
expect 0 "(100.00/100%)" convert -p -O qcow2 data.raw p1.qcow2
expect 0 '"total": ' convert --progress=json -O qcow2 data.raw p2.qcow2
expect 1 "Must specify image file name" convert data.raw
expect 1 "Failed to load snapshot" convert -l snap -O qcow2 data.raw x
expect 1 "Unknown file format 'nonsense'" convert -O nonsense data.raw x
expect 1 "Could not open 'none'" convert -O qcow2 none x
expect 1 "Invalid number of coroutines" convert -m 99 data.raw x
expect 1 "Invalid cache option: odd" convert -t odd data.raw x
expect 1 "Valid sizes are multiples of 512" convert -S 100 data.raw x
expect 1 "--target-is-zero requires use of -n flag" convert --target-is-zero data.raw x
expect 1 "source and target are one file" convert -O qcow2 data.raw data.raw
silent create -q -f qcow2 -b data.raw -F raw above.qcow2
for verb in "convert -U -O qcow2" "convert -n -U -O raw"; do
  # shellcheck disable=SC2086 # words
  expect 1 "is a backing file of the source" $verb above.qcow2 data.raw
done
expect 1 "is a backing file of the source" dd -U if=above.qcow2 of=data.raw
expect 1 "source and target are one file" convert -n -U -O qcow2 above.qcow2 above.qcow2
[ ! -e x ]; ok $? "failed conversions leave no file"
[ "$(stat -c %s data.raw)" = 8388608 ]; ok $? "the source is as it was"
silent create -q -f qcow2 n.qcow2 16M
silent convert -n -O qcow2 data.raw n.qcow2
expect 0 "identical" compare data.raw n.qcow2
expect 1 "output file is smaller than input file" convert -n -O qcow2 data.raw old.qcow2
expect 1 "Could not open 'none'" convert -n -O qcow2 data.raw none
silent convert -O qcow2 -B c.qcow2 -F qcow2 a.qcow2 onbase.qcow2
expect 0 "backing file: c.qcow2" info onbase.qcow2
expect 0 "Images are identical." compare a.qcow2 onbase.qcow2
silent convert -S 0 -O raw a.qcow2 full.raw
[ "$(stat -c %b full.raw)" -ge 20480 ]; ok $? "-S 0 stores every byte"
silent convert -O raw a.qcow2 sparse.raw
[ "$(stat -c %b sparse.raw)" -le 64 ]; ok $? "zeros are not stored"
# Death in the middle: too long a file ends it without a word.
: > before; find . -path ./scratch -prune -o -print | sort > before
if (ulimit -f 1000; "$img" convert -O raw data.raw x) > scratch/out 2> scratch/err; then
  ok 1 "a conversion is ended in the middle"
fi
find . -path ./scratch -prune -o -print | sort | diff before - > scratch/err
ok $? "what dies in the middle leaves no file"
ln data.raw second
silent convert -O raw c.qcow2 second
cmp -s data.raw back.raw && [ "$(stat -c %h second)" = 2 ]
ok $? "an old target is written in place"

# map
expect 0 "Offset          Length          Mapped to       File" map c.qcow2
expect 0 '"start": 0, "length": ' map --output=json c.qcow2
expect 0 '[{ "start": 1048576, "length": 65536, ' map --output=json -s 1M -l 64k c.qcow2
expect 1 "Expecting one image file name" map

# checksum
"$img" checksum data.raw | cut -d' ' -f1 > sum.raw
"$img" checksum -m 1 c.qcow2 | cut -d' ' -f1 > sum.qcow2
[ "$(wc -c < sum.raw)" = 65 ] && cmp -s sum.raw sum.qcow2
ok $? "a raw and a qcow2 image of the same bytes have one checksum"
expect 0 "$(cat sum.raw)  data.raw" checksum -f raw data.raw
expect 0 "\"checksum\": \"$(cat sum.raw)\"" checksum --output=json c.qcow2
expect 1 "Could not open 'none'" checksum none
expect 1 "--safe guesses no format" checksum --safe c.qcow2
expect 1 "Could not open backing file" checksum --safe -f qcow2 o.qcow2
expect 1 "does not go with --output=json" checksum -p --output=json c.qcow2

# bench
expect 0 "Sending 10 read requests, 4096 bytes each, 64 in parallel (starting at offset 0, step size 4096)" bench -c 10 c.qcow2
expect 0 "Run completed in " bench -f raw -c 9 -s 1M -o 7M -S 64k data.raw
silent create -q -f qcow2 w.qcow2 1M
expect 0 "Sending flush every 8 requests" bench -f qcow2 -w -c 20 -d 8 --flush-interval=8 --pattern=7 -s 64k -o 512k w.qcow2
head -c 524288 /dev/zero > w.raw
head -c 524288 /dev/zero | tr '\0' '\7' >> w.raw
expect 0 "identical" compare -f raw w.raw w.qcow2
expect 0 "No errors" check w.qcow2
expect 1 "Failed request: " bench -c 1 -s 2M w.qcow2
expect 1 "Failed request: " bench -c 1 -o 1M w.qcow2
expect 1 "Invalid queue depth specified" bench -d 0 w.qcow2
expect 1 "only available in write tests" bench --flush-interval=8 w.qcow2
expect 1 "can't be smaller than depth" bench -w --flush-interval=8 w.qcow2
expect 1 "Invalid step_size specified." bench -S x w.qcow2

# Completion offers what help lists.
if command -v bash > /dev/null; then
  words_for () {
    PATH="$(dirname "$img"):$PATH" bash -c '. "$0/etc/vprov-img.bash"
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
      _vprov_img 2> /dev/null
      echo "${COMPREPLY[*]}"' "${VP_SRCDIR:-.}" "$@"
  }
  case $VP_SRCDIR in /*) : ;; *) VP_SRCDIR= ;; esac
  if [ -n "$VP_SRCDIR" ]; then
    [ "$(words_for vprov-img chec)" = "check checksum" ] &&
      words_for vprov-img info -- | grep -q -e "--backing-chain.*--header" &&
      [ "$(words_for vprov-img create -f '')" = \
        "$("$img" --help | sed -n 's/^Supported formats: //p')" ] &&
      [ "$(words_for vprov-img create -f lu)" = luks ]
    ok $? "completion offers verbs, options and formats"
  fi
fi

# SIGUSR1 asks how far it has come; it is waiting already when we begin.
if command -v python3 > /dev/null; then
  python3 -c 'import os, signal, sys
signal.pthread_sigmask (signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill (os.getpid (), signal.SIGUSR1)
os.execv (sys.argv[1], sys.argv[1:])' "$img" convert -O qcow2 data.raw u.qcow2 > scratch/out 2> scratch/err &&
    [ ! -s scratch/out ] && grep -qE '^    \([0-9.]+/100%\)$' scratch/err
  ok $? "SIGUSR1 is answered on the standard error"
fi

# A disk that is full says so.
if [ -w /dev/full ]; then
  "$img" info a.qcow2 > /dev/full 2> scratch/err
  [ $? -eq 1 ] && grep -q "standard output" scratch/err
  ok $? "output that cannot be written is an error"
fi
finish
