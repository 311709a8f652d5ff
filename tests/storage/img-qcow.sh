#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# qcow, the first version, beside qemu-img and qemu-io: theirs read by ours and
# ours by theirs, plain, packed, encrypted, over a backing file, of odd sizes;
# and what only we can do with it.
# shellcheck disable=SC2034,SC2016 # variables of the functions, for eval
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

head -c 3000000 /dev/urandom > noise
seq 1 300000 > text
truncate -s 7M mix.raw
dd if=noise of=mix.raw bs=64k conv=notrunc status=none
dd if=text of=mix.raw bs=64k seek=60 conv=notrunc status=none
key='--object secret,id=k,data=geheim'
aes='encrypt.format=aes,encrypt.key-secret=k'

# ---- ours alone ----
silent create -q -f qcow new.qcow 1G
expect 0 "cluster_size: 4096" info new.qcow
expect 0 "cluster_size=512" create -f qcow -o cluster_size=512 small.qcow 1M
expect 0 "cluster_size: 512" info small.qcow
expect 1 "cannot be zero length" create -f qcow none.qcow 0
expect 1 "between 512 and 64k" create -f qcow -o cluster_size=128k none.qcow 1M
expect 1 "too large" create -f qcow none.qcow 9T
expect 1 "Unsupported encryption format" create -f qcow \
  -o encrypt.format=luks,encrypt.key-secret=k none.qcow 1M
expect 1 "'encrypt.key-secret' is required" create -f qcow -o encryption=on none.qcow 1M
expect 1 "Invalid parameter 'compat'" create -f qcow -o compat=1.1 none.qcow 1M
expect 1 "Unsupported preallocation mode" create -f qcow -o preallocation=full none.qcow 1M
[ ! -e none.qcow ]
ok $? "no image is left of that"
silent convert -f raw -O qcow mix.raw a.qcow
silent resize -q a.qcow 20M
expect 0 "No errors" check a.qcow
silent resize -q --shrink a.qcow 7M
expect 0 "Images are identical." compare -F raw a.qcow mix.raw
silent resize -q a.qcow 9G
expect 0 "No errors" check a.qcow
silent resize -q --shrink a.qcow 7M
expect 0 "Images are identical." compare -F raw a.qcow mix.raw
# The file alone says nothing of its backing file's format.
silent create -q -f qcow -b mix.raw -F raw over.qcow
expect 0 "Images are identical." compare -F raw over.qcow mix.raw
expect 1 "has a backing file" convert --safe -f qcow -O raw over.qcow out.raw
# Unused bytes at the end are a leak.
cp a.qcow leak.qcow
head -c 10000 noise >> leak.qcow
expect 3 "leaked" check leak.qcow
expect 0 "" check -r leaks leak.qcow
expect 0 "No errors" check leak.qcow
[ "$(stat -c %s leak.qcow)" -le "$(stat -c %s a.qcow)" ]
ok $? "they were cut off"
if ! have qemu-img || ! have qemu-io; then
  skip "qemu-img is not there to compare with" "the same as qemu-img's"
  finish
  exit 0
fi

# theirs_same A FORMAT B FORMAT: qemu-img finds no difference
theirs_same () {
  theirs qemu-img compare -f "$2" -F "$4" "$1" "$3" > scratch/out 2>&1
  ok $? "qemu-img: $1 is $3"
}

# ---- ours, read by theirs ----
theirs_same a.qcow qcow mix.raw raw
for size in 512 4097 100000 2097152 2097153 7000001; do
  head -c $size mix.raw > odd.raw
  for how in "" -c "-o cluster_size=512" "-c -o cluster_size=64k"; do
    # shellcheck disable=SC2086 # words
    "$img" convert -q $how -f raw -O qcow odd.raw odd.qcow > scratch/out 2>&1
    truncate -s %512 odd.raw
    theirs_same odd.qcow qcow odd.raw raw
  done
done
# shellcheck disable=SC2086
silent convert -f raw -O qcow $key -o $aes mix.raw aes.qcow
# shellcheck disable=SC2086
theirs qemu-img convert $key --image-opts \
  driver=qcow,file.filename=aes.qcow,encrypt.key-secret=k -O raw out.raw
cmp out.raw mix.raw > scratch/out
ok $? "qemu-img reads what we encrypted"
silent resize -q a.qcow 300M
theirs qemu-io -f qcow -c "read -P 0 250M 1M" a.qcow > scratch/out 2>&1 &&
  theirs qemu-io -f qcow -c "write -P 7 299M 1M" a.qcow > scratch/out 2>&1
ok $? "qemu-io writes where we made room"
expect 0 "No errors" check a.qcow
silent resize -q --shrink a.qcow 7M
theirs_same a.qcow qcow mix.raw raw

# ---- theirs, read by ours ----
theirs qemu-img convert -f raw -O qcow mix.raw t.qcow
expect 0 "Images are identical." compare -F raw t.qcow mix.raw
expect 0 "No errors" check t.qcow
theirs qemu-img convert -c -f raw -O qcow mix.raw tc.qcow 2> /dev/null
expect 0 "Images are identical." compare -F raw tc.qcow mix.raw
expect 0 "No errors" check tc.qcow
# shellcheck disable=SC2086
theirs qemu-img convert $key -f raw -O qcow -o $aes mix.raw taes.qcow
# shellcheck disable=SC2086
silent convert $key --image-opts \
  driver=qcow,file.filename=taes.qcow,encrypt.key-secret=k -O raw out2.raw
cmp out2.raw mix.raw > scratch/out
ok $? "we read what qemu-img encrypted"
expect 1 "'encrypt.key-secret' is required" convert -O raw taes.qcow out3.raw

# ---- one after the other ----
for from in t tc; do
  cp $from.qcow turn.qcow
  cp mix.raw turn.raw
  for i in 1 2 3 4 5 6; do
    for line in "write -P $i $((i * 1000000)) 70000" "write -P $((i + 100)) ${i}31k 5000"; do
      theirs qemu-io -f raw -c "$line" turn.raw > scratch/out
      if [ $((i % 2)) -eq 0 ]; then
        theirs qemu-io -f qcow -c "$line" turn.qcow > scratch/out
      else
        "$img" convert -n -f raw -O qcow turn.raw turn.qcow > scratch/out 2>&1
      fi
    done
    theirs_same turn.qcow qcow turn.raw raw
    expect 0 "No errors" check turn.qcow
  done
done

# ---- backing files ----
theirs qemu-img create -q -f qcow -b mix.raw -F raw top.qcow
theirs qemu-io -f qcow -c "write -P 5 1M 3000" -c "write -P 6 6999k 1k" top.qcow > scratch/out
expect 0 "No errors" check top.qcow
theirs qemu-img convert -f qcow -O raw top.qcow top.raw
expect 0 "Images are identical." compare -F raw top.qcow top.raw
head -c 5M text > other.raw
truncate -s 5M other.raw
silent rebase -b other.raw -F raw top.qcow
theirs_same top.qcow qcow top.raw raw
expect 0 "backing file: other.raw" info top.qcow
silent rebase -b "" top.qcow
rm other.raw
theirs_same top.qcow qcow top.raw raw
expect 0 "No errors" check top.qcow
cp mix.raw base.raw
silent create -q -f qcow -b base.raw -F raw -o cluster_size=4k top.qcow
theirs qemu-io -f qcow -c "write -P 5 1M 3000" -c "write -P 6 4M 1M" top.qcow > scratch/out
theirs qemu-img convert -f qcow -O raw top.qcow top.raw
expect 0 "" commit -q top.qcow
theirs_same base.raw raw top.raw raw
theirs_same top.qcow qcow top.raw raw
expect 0 "No errors" check top.qcow

# ---- what is said ----
look='od -A d -t x1 new.qcow'
reset='rm -f new.qcow'
for o in "new.qcow 1G" "-b mix.raw -F raw new.qcow" "-b mix.raw -F raw new.qcow 9M" \
  "-o backing_file=mix.raw,backing_fmt=raw new.qcow" "new.qcow 1000" \
  "$key -o $aes new.qcow 1M" "$key -o encryption=on,encrypt.key-secret=k new.qcow 1M"; do
  # shellcheck disable=SC2086
  same create -f qcow $o
done
look=: reset=:
for i in t tc taes over; do
  same info $i.qcow
  same info --output=json $i.qcow
done
same map --output=json t.qcow
same map t.qcow
same map --output=json over.qcow
finish
