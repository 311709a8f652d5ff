#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench.sh: vprov-img beside qemu-img, in alternating pairs on this machine.
# "make bench" runs it.  Times do not travel between machines; the ratio does.
#
#   VP_BENCH_MIB    size of the mixed data (4096)
#   VP_BENCH_PAIRS  pairs for each row (3; quick rows have more)
#   VP_BENCH_ROWS   only the rows whose words match this pattern
#   VP_BENCH_DIR    where (a folder in /dev/shm if there is room, else /tmp)
#   VP_BENCH_SEED   seed of the data (1)
set -eu

tools=$VP_BUILDDIR/tests/bench
img=$VP_BUILDDIR/vprov-img
mib=${VP_BENCH_MIB:-4096}
pairs=${VP_BENCH_PAIRS:-3}
rows=${VP_BENCH_ROWS:-.}

command -v qemu-img > /dev/null || { echo "bench: no qemu-img here" >&2; exit 1; }
if [ -z "${VP_BENCH_DIR:-}" ]; then
  VP_BENCH_DIR=/tmp
  free=$(df --output=avail -m /dev/shm 2> /dev/null | tail -n 1) || free=0
  [ "${free:-0}" -lt $((mib * 3)) ] || VP_BENCH_DIR=/dev/shm
fi
folder=$(mktemp -d "$VP_BENCH_DIR/vprovd-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM HUP
cd "$folder"
# A short name in the commands, and no other start than the tool's own.
ln -s "$img" ours
ln -s "$(command -v qemu-img)" theirs

# Is the row wanted?  Then what it needs is made.
needs=:
wanted () { [[ $1 =~ $rows ]] && $needs; }

# row GOAL WORDS ARGUMENTS [PAIR-OPTION...]: the same arguments for both.
row ()
{
  local goal=$1 words=$2 arguments=$3
  shift 3
  wanted "$words" || return 0
  "$tools/pair" -n "$pairs" -g "$goal" "$@" "$words" \
    "./ours $arguments" "./theirs $arguments" || echo "$words: FAILED"
}
# With another command line for them.
row_against ()
{
  local goal=$1 words=$2 ours=$3 theirs=$4
  shift 4
  wanted "$words" || return 0
  "$tools/pair" -n "$pairs" -g "$goal" "$@" "$words" \
    "./ours $ours" "$theirs" || echo "$words: FAILED"
}
# need FILE COMMAND...: an input, made by the rival where it is not there.
need ()
{
  [ -e "$1" ] || "${@:2}" > /dev/null
}
need_raw () { need mix.raw "$tools/mkdata" mix.raw "$mib" "${VP_BENCH_SEED:-1}"; }
need_plain ()
{
  need_raw
  need plain.qcow2 ./theirs convert -f raw -O qcow2 mix.raw plain.qcow2
}
# Packed by them, with all their threads.
need_packed ()
{
  need_raw
  # shellcheck disable=SC2086 # a list of words
  need $codec.qcow2 ./theirs $pack -W -m 16 mix.raw $codec.qcow2
}
need_luks ()
{
  need_raw
  # shellcheck disable=SC2086 # lists of words
  need luks.qcow2 ./theirs convert $key -f raw -O qcow2 $luks mix.raw luks.qcow2
}
need_fragmented ()
{
  need frag.qcow2 "$tools/mkfragmented" frag.qcow2 655360 1
}
need_sequential ()
{
  need seq.qcow2 ./ours create -q -f qcow2 -o preallocation=metadata seq.qcow2 1T
}
# has FORMAT [OPTIONS...]: is it ours to make yet?
has ()
{
  ./ours create -q -f "$1" "${@:2}" has.img 1M > /dev/null 2>&1 ||
    { rm -f has.img; return 1; }
  rm -f has.img has-*
}
need_empty ()
{
  need empty.raw truncate -s 8T empty.raw
  need "empty.$format" ./theirs create -q -f "$format" "empty.$format" 8T
}
key='--object secret,id=k,data=benchmark'

echo "$("$img" --version | head -n 1) beside $(qemu-img --version | head -n 1)"
echo "$(nproc) processors; $mib MiB of mixed data in $VP_BENCH_DIR; medians of $pairs pairs"
printf '%-40s %9s %9s %8s %6s %-3s %6s %6s  %s\n' work theirs ours ratio goal \
  met RSS theirs bytes

for words in "info qcow2" "create qcow2" "version"; do
  case $words in
    info*) arguments='info small.qcow2' ;;
    create*) arguments='create -q -f qcow2 new.qcow2 1T' ;;
    *) arguments=--version ;;
  esac
  need small.qcow2 ./theirs create -q -f qcow2 small.qcow2 1G
  row 3 "$words" "$arguments" -r 20 -n 7
done
row 10 "create 1 TiB, preallocation=metadata" \
  "create -q -f qcow2 -o preallocation=metadata new.qcow2 1T" -o new.qcow2
row 1 "empty 8 TiB to qcow2" "convert -O qcow2 empty.qcow2 out.qcow2" \
  -b "test -e empty.qcow2 || ./theirs create -q -f qcow2 empty.qcow2 8T" \
  -o out.qcow2

needs=need_fragmented
row 100 "check, fragmented 40 GiB" "check frag.qcow2"
row 10 "map, fragmented 40 GiB" "map --output=json frag.qcow2"
# Theirs takes minutes.
row_against 100 "snapshot -c and -d, fragmented 40 GiB" \
  "snapshot -c one frag.qcow2 && ./ours snapshot -d one frag.qcow2" \
  "./theirs snapshot -c one frag.qcow2 && ./theirs snapshot -d one frag.qcow2" \
  -n 1
rm -f frag.qcow2

needs=need_sequential
row 10 "check, sequential 1 TiB" "check seq.qcow2"
row 10 "map, sequential 1 TiB" "map --output=json seq.qcow2"
row 10 "snapshot -c, sequential 1 TiB" "snapshot -c one seq.qcow2" \
  -b "./ours snapshot -d one seq.qcow2 2> /dev/null || :"
row 10 "snapshot -a, sequential 1 TiB" "snapshot -a one seq.qcow2"
row 10 "snapshot -d, sequential 1 TiB" "snapshot -d one seq.qcow2" \
  -b "./ours snapshot -c one seq.qcow2 2> /dev/null || :"
rm -f seq.qcow2

needs=need_raw
row 1 "raw to raw" "convert -f raw -O raw mix.raw out.img" -o out.img
row_against 0.87 "raw to raw, beside cp --sparse" \
  "convert -f raw -O raw mix.raw out.img" \
  "cp --sparse=always mix.raw out.img" -o out.img
row 1 "raw to qcow2" "convert -f raw -O qcow2 mix.raw out.img" -o out.img
needs=need_plain
row 1 "qcow2 to raw" "convert -f qcow2 -O raw plain.qcow2 out.img" -o out.img
rm -f plain.qcow2

for codec in zstd zlib; do
  pack="convert -c -f raw -O qcow2 -o compression_type=$codec"
  if [ $codec = zlib ]; then goals='15 8 2.5'; else goals='2 1.3 1.5'; fi
  read -r plain oob unpack <<< "$goals"
  needs=need_raw
  row "$plain" "convert -c $codec" "$pack mix.raw out.img" -o out.img
  row_against "$oob" "convert -c $codec, theirs with -W" \
    "$pack mix.raw out.img" "./theirs $pack -W -m 16 mix.raw out.img" -o out.img
  needs=need_packed
  row "$unpack" "$codec to raw" "convert -f qcow2 -O raw $codec.qcow2 out.img" \
    -o out.img
done
row 3 "compare raw and zlib" "compare -f raw -F qcow2 mix.raw zlib.qcow2"
rm -f zlib.qcow2 zstd.qcow2

luks='-o encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10'
needs=need_raw
row 4 "raw to LUKS" "convert $key -f raw -O qcow2 $luks mix.raw out.img" \
  -o out.img
needs=need_luks
row 2 "LUKS to raw" "convert $key --image-opts -O raw \
driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=k out.img" -o out.img
rm -f luks.qcow2
needs=need_raw

stream='-o subformat=streamOptimized'
if has vmdk; then
  needs=need_raw
  row 15 "raw to vmdk, streamOptimized" \
    "convert -f raw -O vmdk $stream mix.raw out.vmdk" -o out.vmdk
  row 1 "raw to vmdk" "convert -f raw -O vmdk mix.raw out.vmdk" -o out.vmdk
  need_stream ()
  {
    need_raw
    # shellcheck disable=SC2086 # a list of words
    need stream.vmdk ./theirs convert -f raw -O vmdk $stream mix.raw stream.vmdk
  }
  need_sparse ()
  {
    need_raw
    need sparse.vmdk ./theirs convert -f raw -O vmdk mix.raw sparse.vmdk
  }
  needs=need_stream
  row 3 "streamOptimized to raw" "convert -f vmdk -O raw stream.vmdk out.img" \
    -o out.img
  rm -f stream.vmdk
  needs=need_sparse
  row 1 "vmdk to raw" "convert -f vmdk -O raw sparse.vmdk out.img" -o out.img
  rm -f sparse.vmdk
fi
if has vdi; then
  needs=need_raw
  row 1 "raw to vdi" "convert -f raw -O vdi mix.raw out.vdi" -o out.vdi
  need_vdi ()
  {
    need_raw
    need plain.vdi ./theirs convert -f raw -O vdi mix.raw plain.vdi
  }
  needs=need_vdi
  row 1 "vdi to raw" "convert -f vdi -O raw plain.vdi out.img" -o out.img
  rm -f plain.vdi
fi
if has qcow; then
  needs=need_raw
  row 10 "raw to qcow" "convert -f raw -O qcow mix.raw out.qcow" -o out.qcow
  need_qcow ()
  {
    need_raw
    need plain.qcow ./ours convert -f raw -O qcow mix.raw plain.qcow
  }
  needs=need_qcow
  row 1 "qcow to raw" "convert -f qcow -O raw plain.qcow out.img" -o out.img
  rm -f plain.qcow
  needs=need_raw
  # Theirs fails, without a word.
  row_against 15 "raw to qcow -c, beside theirs to qcow2 -c" \
    "convert -c -f raw -O qcow mix.raw out.qcow" \
    "./theirs convert -c -f raw -O qcow2 mix.raw out.qcow" -o out.qcow
fi
if has cow; then
  # QEMU has no cow any more: beside its way to raw.
  needs=need_raw
  row_against 0.9 "raw to cow, beside theirs to raw" \
    "convert -f raw -O cow mix.raw out.cow" \
    "./theirs convert -f raw -O raw mix.raw out.cow" -o out.cow
fi
# SHA-256 is sometimes too quick for theirs to measure.
crypt='-o key-secret=k,hash-alg=sha512,iter-time=100'
# shellcheck disable=SC2086 # lists of words
if has luks $key $crypt; then
  needs=need_raw
  row 3 "raw to luks" "convert $key -f raw -O luks $crypt mix.raw out.luks" \
    -o out.luks
  need_crypt ()
  {
    need_raw
    # shellcheck disable=SC2086 # lists of words
    need plain.luks ./theirs convert $key -f raw -O luks $crypt mix.raw \
      plain.luks
  }
  needs=need_crypt
  row 2 "luks to raw" "convert $key --image-opts -O raw \
driver=luks,file.filename=plain.luks,key-secret=k out.img" -o out.img
  rm -f plain.luks
fi

needs=need_empty
for format in vmdk vdi qcow; do
  has $format || continue
  # Theirs goes from one cluster to the next in the others, for minutes.
  [ $format != vdi ] ||
    row 1 "empty 8 TiB vdi to raw" \
      "convert -f vdi -O raw empty.vdi out.img" -o out.img
  row 1 "empty 8 TiB raw to $format" \
    "convert -f raw -O $format empty.raw out.img" -o out.img
  rm -f empty.$format
done

needs=need_raw
row_against 5 "checksum, beside sha256sum" "checksum -f raw mix.raw" \
  "sha256sum mix.raw"
