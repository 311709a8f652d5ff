#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img beside qemu-img on the same images: the same text, the same JSON,
# the same exit status; and each takes what the other has made.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
for tool in qemu-img qemu-io; do
  if ! command -v $tool > /dev/null; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/vprov-interop-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99
n=0

ok () {
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    [ -f differ ] && sed 's/^/# /' differ
  fi
  rm -f differ
}

# They run in a cage: they are no safe judges of odd images.
theirs () { prlimit --as=4294967296 --cpu=20 timeout 20 "$@"; }

# same ARGUMENT...: equal stdout and exit status
same () {
  theirs qemu-img "$@" > a 2> /dev/null; sa=$?
  "$img" "$@" > b 2> b.err; sb=$?
  sed -i 's/qemu-img/vprov-img/g' a
  r=0
  diff a b > differ || r=1
  [ $sa -eq $sb ] || { echo "status $sa, ours $sb: $(cat b.err)" >> differ; r=1; }
  ok $r "$*"
}

# same_errors ARGUMENT...: and equal stderr
same_errors () {
  theirs qemu-img "$@" > a 2> a.err; sa=$?
  "$img" "$@" > b 2> b.err; sb=$?
  sed -i 's/qemu-img/vprov-img/g' a a.err
  r=0
  { diff a b && diff a.err b.err; } > differ || r=1
  [ $sa -eq $sb ] || { echo "status $sa, ours $sb" >> differ; r=1; }
  ok $r "$* (errors too)"
}

everything () {
  same info "$1"
  same info --output=json "$1"
  same info --output=json --backing-chain "$1"
  same map "$1"
  same map --output=json "$1"
  same check "$1"
  same check --output=json "$1"
}

# Theirs, all kinds of cluster in it.
theirs qemu-img create -q -f qcow2 base.qcow2 12M
theirs qemu-io -c "write -P 5 0 1M" -c "write -z 2M 1M" -c "write -P 6 5M 320k" \
  -c "discard 5M 64k" -c "write -P 9 11M 1M" base.qcow2 > /dev/null
theirs qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 20M
theirs qemu-io -c "write -P 7 1M 64k" -c "write -z 11M 64k" -c "write -P 8 15M 1k" \
  over.qcow2 > /dev/null
cp base.qcow2 snap.qcow2
theirs qemu-img snapshot -c first snap.qcow2
theirs qemu-img snapshot -c "second one" snap.qcow2
theirs qemu-io -c "write -P 1 0 200k" snap.qcow2 > /dev/null
theirs qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=4k old.qcow2 3M
theirs qemu-io -c "write -P 3 1M 1M" old.qcow2 > /dev/null
theirs qemu-img create -q -f qcow2 -o refcount_bits=64,lazy_refcounts=on,cluster_size=2M \
  wide.qcow2 1T
theirs qemu-img create -q -f raw plain.raw 5M
theirs qemu-io -f raw -c "write -P 3 1M 1M" plain.raw > /dev/null
theirs qemu-img convert -c -O qcow2 base.qcow2 packed.qcow2
theirs qemu-img convert -c -o compression_type=zstd -O qcow2 base.qcow2 zstd.qcow2
theirs qemu-img create -q -f qcow2 -o preallocation=metadata holes.qcow2 40M
theirs qemu-io -c "write -P 7 5M 1M" -c "write -P 7 30M 100k" holes.qcow2 > /dev/null
cp base.qcow2 dense.qcow2
theirs qemu-io -c "write -P 4 11M 512k" dense.qcow2 > /dev/null
fallocate -p -o 393216 -l 8192 dense.qcow2
mkdir sub
theirs qemu-img create -q -f qcow2 -b ../base.qcow2 -F qcow2 sub/o.qcow2

for i in base over snap old wide holes dense; do everything $i.qcow2; done
everything sub/o.qcow2
for i in packed zstd; do
  same info $i.qcow2
  same info --output=json $i.qcow2
  same check $i.qcow2
  same check --output=json $i.qcow2
  same map --output=json $i.qcow2
done
same snapshot -l snap.qcow2
same snapshot -l base.qcow2
same snapshot snap.qcow2
same info plain.raw
same info --output=json -f raw plain.raw
same map -f raw --output=json plain.raw
same map -f raw plain.raw
same check -f raw plain.raw
same map --output=json --start-offset=1M --max-length=100k over.qcow2

# Wrong ones.
same_errors create -f nonsense x 1M
same_errors create -f qcow2 -o nonsense=1 x 1M
same_errors create -f qcow2 x
same_errors create -f qcow2 x 1Q
same_errors create -b base.qcow2 -F qcow2 x
same_errors create -f qcow2 -o size=1M x 2M
same_errors create
same_errors info
same_errors info --nonsense base.qcow2
same_errors info --output=xml base.qcow2
same_errors check -r some base.qcow2
same_errors check plain.raw
same_errors convert base.qcow2
same_errors convert -m 99 base.qcow2 x
same_errors convert -t odd base.qcow2 x
same_errors convert -O nonsense base.qcow2 x
same_errors resize base.qcow2
same_errors resize base.qcow2 -- -900G
same_errors resize base.qcow2 1M
same_errors resize --shrink --preallocation=full base.qcow2 1M

same_errors snapshot
same_errors amend
same_errors amend base.qcow2
same amend -f qcow2 -o help
same amend -o help base.qcow2
same_errors amend -f raw -o size=1M plain.raw
same_errors amend -o compat=1.1 none.qcow2
for o in cluster_size=4k nonsense=1 preallocation=full data_file=x \
  data_file_raw=on refcount_bits=3 compat=0.9 compat=0.10,lazy_refcounts=on \
  compat=0.10,refcount_bits=8 backing_file=other backing_fmt=raw \
  lazy_refcounts=odd size=odd refcount_bits=odd encrypt.state=active; do
  same_errors amend -o $o base.qcow2
done
same_errors amend -o refcount_bits=8 old.qcow2
same_errors amend -o lazy_refcounts=on old.qcow2
same_errors snapshot -l -c x base.qcow2
same_errors snapshot -d none snap.qcow2
same_errors snapshot -c x none.qcow2
same_errors compare base.qcow2
same_errors dance
same_errors compare over.qcow2 base.qcow2
same_errors compare -s over.qcow2 base.qcow2
same_errors compare base.qcow2 packed.qcow2
same_errors compare base.qcow2 zstd.qcow2
same_errors compare -q base.qcow2 old.qcow2
same compare none base.qcow2
same info none
same info -f qcow2 plain.raw

# What creation says, and what comes of it.
same create -f qcow2 x.qcow2 1000
same create -f qcow2 -o preallocation=metadata,cluster_size=4k x.qcow2 9M
same create -f qcow2 -o compat=0.10 x.qcow2 1M
same create -f qcow2 -b base.qcow2 -F qcow2 x.qcow2
same create -f qcow2 -u -b gone -F raw x.qcow2 5M
same create -f raw -o preallocation=falloc x.raw 1M
same create x.raw 5M
same resize -f raw x.raw +1M

# A leak and a lost refcount: header, refcount table, block, entry.
spoil () { # FILE CLUSTER TWO-OCTAL-BYTES (each as \0NNN)
  table=$(od -An -tu8 --endian=big -j48 -N8 "$1" | tr -d ' ')
  block=$(od -An -tu8 --endian=big -j"$table" -N8 "$1" | tr -d ' ')
  printf %b "$3" | dd of="$1" bs=1 seek=$((block + 2 * $2)) conv=notrunc 2> /dev/null
}
cp base.qcow2 leak.qcow2
size=$(stat -c %s leak.qcow2)
truncate -s $((size + 131072)) leak.qcow2
spoil leak.qcow2 $((size / 65536)) '\0000\0001'
spoil leak.qcow2 $((size / 65536 + 1)) '\0000\0001'
cp base.qcow2 lost.qcow2
spoil lost.qcow2 6 '\0000\0000'
for i in leak lost; do
  same check $i.qcow2
  same check --output=json $i.qcow2
  same check -q $i.qcow2
done
cp leak.qcow2 leak2.qcow2
theirs qemu-img check -r leaks --output=json leak2.qcow2 2> /dev/null | sed s/leak2/leak/ > a
"$img" check -r leaks --output=json leak.qcow2 > b 2> /dev/null
diff a b > differ; ok $? "check -r leaks --output=json"
same check leak.qcow2

# They judge what we make.
judge () { # FILE: sound, and the same bytes as data.raw
  theirs qemu-img check -q "$1" > differ 2>&1 &&
    theirs qemu-img compare -f raw -q data.raw "$1" > differ 2>&1
  ok $? "they find $1 sound and complete"
}
head -c 3000000 /dev/urandom > data.raw
truncate -s 9M data.raw
printf tail | dd of=data.raw bs=1 seek=9000000 conv=notrunc 2> /dev/null
i=0
for options in cluster_size=64k cluster_size=512 cluster_size=2M compat=0.10 \
  preallocation=metadata compression_type=zstd refcount_bits=16; do
  i=$((i + 1))
  "$img" convert -f raw -O qcow2 -o $options data.raw made$i.qcow2
  judge made$i.qcow2
  same info made$i.qcow2
  same check --output=json made$i.qcow2
done
"$img" create -q -f qcow2 -b made1.qcow2 -F qcow2 thin.qcow2 && judge thin.qcow2
"$img" resize -q thin.qcow2 30M
theirs qemu-img check -q thin.qcow2; ok $? "they find a grown overlay sound"
same info thin.qcow2
"$img" create -q -f qcow2 n.qcow2 9M && "$img" convert -n -O qcow2 data.raw n.qcow2
judge n.qcow2
for i in base over snap packed zstd wide old; do
  "$img" convert -O qcow2 $i.qcow2 ours.qcow2 &&
    theirs qemu-img compare -q $i.qcow2 ours.qcow2 &&
    theirs qemu-img check -q ours.qcow2
  ok $? "they find our copy of $i.qcow2 equal"
done
"$img" convert -O qcow2 -B base.qcow2 -F qcow2 over.qcow2 again.qcow2 &&
  theirs qemu-img compare -q over.qcow2 again.qcow2 &&
  theirs qemu-img check -q again.qcow2
ok $? "they find our copy on the same base equal"
[ "$(stat -c %s again.qcow2)" -le "$(stat -c %s over.qcow2)" ]
ok $? "a copy on the same base holds no more than its source"
"$img" convert -O qcow2 -B made1.qcow2 -F qcow2 over.qcow2 other.qcow2 &&
  theirs qemu-img compare -q over.qcow2 other.qcow2
ok $? "they find our copy on another base equal"

# While they write, we keep away; -U looks all the same.
refuses () {
  "$img" "$@" > out 2> differ
  [ $? -eq 1 ] && grep -qi lock differ
  ok $? "$* keeps away from an image in use"
}
theirs qemu-img create -q -f qcow2 busy.qcow2 4M
cp busy.qcow2 before.qcow2
mkfifo hold
qemu-io busy.qcow2 < hold > holder 2>&1 &
holder=$!
exec 9> hold
# Not by asking qemu-img: its own lock, for a moment, keeps the other out.
inode=$(stat -c %i busy.qcow2)
tries=0
until grep -q ":$inode " /proc/locks || [ $tries -ge 500 ]; do
  tries=$((tries + 1))
  sleep 0.02
done
grep -q ":$inode " /proc/locks; ok $? "an image is in use"
refuses resize busy.qcow2 +1M
refuses convert -n -O qcow2 base.qcow2 busy.qcow2
refuses convert -O qcow2 base.qcow2 busy.qcow2
refuses create -f qcow2 busy.qcow2 1M
refuses check -r leaks busy.qcow2
refuses convert -O raw busy.qcow2 x.raw2
refuses info busy.qcow2
"$img" info -U busy.qcow2 > out 2> differ; ok $? "info -U looks at an image in use"
cmp -s busy.qcow2 before.qcow2; ok $? "an image in use is as it was"
exec 9>&-
wait $holder
"$img" resize -q busy.qcow2 +1M 2> differ; ok $? "resize when it is free again"
echo "1..$n"
