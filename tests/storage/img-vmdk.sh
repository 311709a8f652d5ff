#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# VMDK beside qemu-img and 7-Zip: each reads what the other wrote, in all
# subformats, with parents, and with one descriptor's text.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

for tool in qemu-img qemu-io prlimit timeout; do
  if ! have $tool; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done
seven=
for tool in 7zz 7z; do
  if [ -z "$seven" ] && have $tool; then seven=$tool; fi
done

quietly () { "$@" > scratch/said 2>&1; }

# check WORDS COMMAND...
check () {
  title=$1
  shift
  quietly "$@"
  ok $? "$title"
}

fails () {
  title=$1
  shift
  ! quietly "$@"
  ok $? "$title"
}

# ---- bytes both ways --------------------------------------------------------

# 5 MiB and a sector: data, zeros, the end of a grain, the last sector.
make_disk () {
  seq 1 60000 > data
  truncate -s 5243392 disk.raw
  for at in 0 70 129 2000 4095 6000; do
    dd if=data of=disk.raw bs=512 seek=$at skip=$at count=67 conv=notrunc \
      status=none 2> /dev/null
  done
  printf 'the end' | dd of=disk.raw bs=1 seek=5243385 conv=notrunc status=none
}

seven_reads () {
  if [ -z "$seven" ]; then
    skip "7-Zip is not there" "$3: 7-Zip"
    return
  fi
  rm -rf out7
  theirs "$seven" x -y -tVMDK -oout7 "$1" > scratch/seven 2>&1
  # It leaves out what follows the last grain of zeros.
  [ "$(find out7 -type f | wc -l)" -eq 1 ] &&
    truncate -s 5243392 out7/* && cmp out7/* "$2" > scratch/cmp 2>&1
  ok $? "$3: 7-Zip"
}

# change TOOL IMAGE: three writes, one across extents and grains
change () {
  theirs qemu-io -f "$1" -c 'write -P 7 65000 1200' \
    -c 'write -P 9 3145000 200000' -c 'write -z 0 65536' "$2" > scratch/io 2>&1
}

both_ways () {
  sub=$1
  rm -f ours* theirs*
  check "$sub: ours" "$img" convert -f raw -O vmdk -o subformat="$sub" \
    disk.raw ours.vmdk
  check "$sub: qemu-img reads ours" \
    theirs qemu-img compare -f vmdk -F raw ours.vmdk disk.raw
  check "$sub: qemu-img checks ours" theirs qemu-img check ours.vmdk
  seven_reads ours.vmdk disk.raw "$sub"
  quietly theirs qemu-img convert -f raw -O vmdk -o subformat="$sub" disk.raw \
    theirs.vmdk
  check "$sub: we read theirs" "$img" compare -f vmdk -F raw theirs.vmdk disk.raw
  check "$sub: we check theirs" "$img" check theirs.vmdk
  ls > scratch/names
  [ "$(grep -c '^ours' scratch/names)" -eq "$(grep -c '^theirs' scratch/names)" ]
  ok $? "$sub: as many files as theirs"
  if [ "$sub" = streamOptimized ]; then
    expect 1 "" bench -w -c 1 -f vmdk theirs.vmdk
    return
  fi
  cp disk.raw changed.raw
  change raw changed.raw
  change vmdk ours.vmdk
  check "$sub: we read what qemu-io wrote" \
    "$img" compare -f vmdk -F raw ours.vmdk changed.raw
  check "$sub: and find nothing wrong" "$img" check ours.vmdk
  check "$sub: ours in theirs" "$img" convert -n -f raw -O vmdk changed.raw \
    theirs.vmdk
  check "$sub: read by qemu-img" \
    theirs qemu-img compare -f vmdk -F raw theirs.vmdk changed.raw
  check "$sub: checked by qemu-img" theirs qemu-img check theirs.vmdk
  check "$sub: grows" "$img" resize -q ours.vmdk 40M
  truncate -s 40M changed.raw
  check "$sub: larger, read by qemu-img" \
    theirs qemu-img compare -f vmdk -F raw ours.vmdk changed.raw
  check "$sub: larger, and sound" "$img" check ours.vmdk
}

# ---- the text ---------------------------------------------------------------

# The text alone, without what is drawn.
text_of () {
  head -c 20480 "$1" | tr -d '\000' | sed -n '/^# Disk/,$p;/# Disk/s/.*# Disk/# Disk/p' |
    grep -a '^[#a-zA-Z]' | grep -av '^CID=' |
    sed 's/^parentCID=0*/parentCID=/' | uniq
}

same_text () {
  for tool in "theirs qemu-img" "$img"; do
    rm -f text*.vmdk
    # shellcheck disable=SC2086
    $tool create -q -f vmdk "$@" > scratch/said 2>&1
    { text_of text.vmdk; ls text*.vmdk; } > "scratch/$(basename "${tool#theirs }")"
  done
  cmp -s scratch/qemu-img scratch/vprov-img && [ -s scratch/vprov-img ]
  ok $? "the text of create $*"
}

texts () {
  for sub in monolithicSparse monolithicFlat twoGbMaxExtentSparse \
    twoGbMaxExtentFlat streamOptimized; do
    same_text -o subformat=$sub text.vmdk 5G
    for adapter in ide buslogic lsilogic legacyESX; do
      same_text -o subformat=$sub,adapter_type=$adapter text.vmdk 1234567
    done
    same_text -o subformat=$sub,hwversion=11,toolsversion=77 text.vmdk 900G
    same_text -o subformat=$sub,compat6=on text.vmdk 0
  done
  quietly theirs qemu-img create -f vmdk base.vmdk 3M
  same_text -b base.vmdk -F vmdk text.vmdk
  same_text -b base.vmdk -F vmdk -o subformat=twoGbMaxExtentSparse text.vmdk 4M
}

refusals () {
  same qemu-img create -q -f vmdk -o adapter_type=scsi x.vmdk 1M
  same qemu-img create -q -f vmdk -o subformat=flat x.vmdk 1M
  same qemu-img create -q -f vmdk -o compat6=on,hwversion=4 x.vmdk 1M
  same qemu-img create -q -f vmdk -o subformat=monolithicFlat,zeroed_grain=on x.vmdk 1M
  same qemu-img create -q -f vmdk -o subformat=monolithicFlat -b base.vmdk -F vmdk x.vmdk
  same qemu-img create -q -f vmdk -o preallocation=metadata x.vmdk 1M
  same qemu-img create -q -f vmdk -b disk.raw -F raw x.vmdk
  find . -name 'x*.vmdk' > scratch/left
  [ ! -s scratch/left ]
  ok $? "what is refused leaves nothing"
}

# ---- facts ------------------------------------------------------------------

# The space taken is the file system's affair.
facts () {
  for tool in "theirs qemu-img" "$img"; do
    name=$(basename "${tool#theirs }")
    {
      $tool info "$1"
      $tool info --output=json "$1"
      $tool map "$1"
    } 2> scratch/err | grep -v 'disk size\|actual-size' > "scratch/$name"
    sed 's/qemu-img/vprov-img/' scratch/err >> "scratch/$name"
  done
  cmp -s scratch/qemu-img scratch/vprov-img
  ok $? "info and map of $1"
}

# ---- parents ----------------------------------------------------------------

parents () {
  rm -f base.vmdk top.vmdk
  quietly theirs qemu-img convert -f raw -O vmdk disk.raw base.vmdk
  check "a child" "$img" create -q -f vmdk -b base.vmdk -F vmdk top.vmdk
  cp disk.raw changed.raw
  change raw changed.raw
  change vmdk top.vmdk
  check "is read" "$img" compare -f vmdk -F raw top.vmdk changed.raw
  check "is read by qemu-img" \
    theirs qemu-img compare -f vmdk -F raw top.vmdk changed.raw
  facts top.vmdk
  check "is committed" "$img" commit -q -d top.vmdk
  check "and still read by qemu-img" \
    theirs qemu-img compare -f vmdk -F raw top.vmdk changed.raw
  check "and the parent holds it" "$img" compare -f vmdk -F raw base.vmdk \
    changed.raw
  quietly theirs qemu-io -f vmdk -c 'write -P 1 1M 512' base.vmdk
  expect 2 "has changed since" compare -f vmdk -F raw top.vmdk changed.raw
  expect 0 "" rebase -u -f vmdk -b base.vmdk -F vmdk top.vmdk
  check "taken as it is, read by qemu-img" \
    theirs qemu-img compare -f vmdk -F vmdk top.vmdk base.vmdk
  check "alone" "$img" rebase -f vmdk -b '' top.vmdk
  check "alone, read by qemu-img" \
    theirs qemu-img compare -f vmdk -F vmdk top.vmdk base.vmdk
}

# ---- names ------------------------------------------------------------------

names () {
  printf 'a secret' > secret
  truncate -s 4096 secret
  mkdir sub
  for name in "$PWD/secret" ../secret; do
    printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "%s" 0\n' \
      "$name" > sub/bad.vmdk
    expect 1 "not in its own folder" convert -f vmdk -O raw sub/bad.vmdk out.raw
    fails "nothing of it is copied" grep -q secret out.raw
  done
  mkdir far
  quietly "$img" create -f vmdk far/base.vmdk 1M
  expect 1 "not in its own folder" create -f vmdk -b "$PWD/far/base.vmdk" -F vmdk near.vmdk
  expect 0 "" create -q -f vmdk -b "$PWD/far/base.vmdk" -F vmdk far/top.vmdk
  expect 0 "" map far/top.vmdk
  mkdir split
  quietly "$img" create -f vmdk -o subformat=twoGbMaxExtentSparse,extent_size=1M split/ours.vmdk 3M
  check "info --safe opens no extents" "$img" info --safe -f vmdk split/ours.vmdk
  expect 1 "is an extent of an image" info split/ours-s001.vmdk
  rm split/ours-s002.vmdk
  expect 1 "ours-s002.vmdk" info split/ours.vmdk
}

# ---- what fails -------------------------------------------------------------

# The disk is full; and an extent that was there before stays there.
leftovers () {
  for sub in monolithicFlat twoGbMaxExtentFlat twoGbMaxExtentSparse \
    monolithicSparse streamOptimized; do
    (ulimit -f 2000 && trap '' XFSZ && exec "$img" convert -f raw -O vmdk \
      -o subformat=$sub,preallocation=off big.raw left.vmdk) > scratch/said 2>&1
    status=$?
    ls left* > scratch/left 2> /dev/null
    [ $status -eq 1 ] && [ ! -s scratch/left ]
    ok $? "$sub: a convert that fails leaves no file"
  done
  printf 'mine' > left-flat.vmdk
  expect 1 "" create -q -f vmdk -o subformat=monolithicFlat,zeroed_grain=on left.vmdk 1M
  check "refused before anything is emptied" grep -q mine left-flat.vmdk
  expect 1 "" convert -f raw -O vmdk -o subformat=monolithicFlat left-flat.vmdk \
    left.vmdk
  check "never onto its own source" grep -q mine left-flat.vmdk
  expect 1 "" convert -U -f raw -O vmdk -o subformat=monolithicFlat left-flat.vmdk \
    left.vmdk
  check "not with -U either" grep -q mine left-flat.vmdk
}

head -c 3000000 /dev/urandom > big.raw
# An extent that is a link to elsewhere is neither read nor emptied.
links () {
  mkdir links
  cd links || exit 1
  mkdir scratch
  printf 'a secret' > ../secret
  truncate -s 4096 ../secret
  cp ../secret secret
  ln -s ../secret link
  printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "link" 0\n' > bad.vmdk
  expect 1 "not in its own folder" convert -f vmdk -O raw bad.vmdk out.raw
  ln -s ../secret y-flat.vmdk
  expect 1 "not in its own folder" create -q -f vmdk -o subformat=monolithicFlat y.vmdk 1M
  ln -s ../nowhere z-flat.vmdk
  expect 1 "not in its own folder" create -q -f vmdk -o subformat=monolithicFlat z.vmdk 1M
  cmp secret ../secret > scratch/cmp && [ -L y-flat.vmdk ] && [ -L z-flat.vmdk ] && [ ! -e ../nowhere ]
  ok $? "what links lead to stays as it is, and so do they"
  rm link
  ln -s secret link
  expect 0 "" convert -f vmdk -O raw bad.vmdk out.raw
  check "a link within the folder is followed" cmp out.raw secret
  expect 1 "more than 1024 extents" create -q -f vmdk -o subformat=twoGbMaxExtentFlat x.vmdk 3T
  expect 1 "one file" convert -U -f raw -O qcow2 -o data_file=secret secret out.qcow2
  check "a source is not emptied as a data file" cmp secret ../secret
  cd .. || exit 1
}

make_disk
for sub in monolithicSparse monolithicFlat twoGbMaxExtentSparse \
  twoGbMaxExtentFlat streamOptimized; do
  both_ways $sub
  facts ours.vmdk
  facts theirs.vmdk
done
texts
refusals
parents
names
leftovers
links
finish
