#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# streamOptimized both ways: qemu-img and 7-Zip read the same bytes from ours,
# we from what qemu-img writes.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

for tool in qemu-img prlimit timeout; do
  if ! have $tool; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done
if ! "$img" create -q -f vmdk try.vmdk 1M > /dev/null 2>&1; then
  echo "1..0 # SKIP vprov-img cannot make a VMDK image"
  exit 77
fi
seven=
for tool in 7zz 7z; do
  if [ -z "$seven" ] && have $tool; then seven=$tool; fi
done

stream='subformat=streamOptimized'

# ---- disks ------------------------------------------------------------------

make_disks ()
{
  seq 1 400000 > text.raw
  truncate -s 2560000 text.raw # 39 grains, and 4096 bytes
  head -c 3000320 /dev/urandom > random.raw
  truncate -s 5M zeros.raw
  printf x > byte.raw
  truncate -s 512 byte.raw
  truncate -s 4G sparse.raw
  for at in 0 1 511 512 30000 65535; do
    dd if=random.raw of=sparse.raw bs=65536 count=1 skip=1 seek=$at \
      conv=notrunc status=none
  done
  # In all: grains that end within a zero run, noise, text.
  { head -c 100000 random.raw; head -c 200000 /dev/zero; head -c 50000 text.raw; } > mixed.raw
  truncate -s 350208 mixed.raw
}

# ---- ours, read by others ---------------------------------------------------

# same_raw IMAGE RAW: qemu-img finds nothing wrong, and the bytes.
qemu_reads ()
{
  theirs qemu-img check "$1" > scratch/check 2>&1
  ok $? "$3: qemu-img check"
  theirs qemu-img compare -f vmdk -F raw "$1" "$2" > scratch/compare 2>&1
  ok $? "$3: qemu-img compare"
}

seven_reads ()
{
  if [ -z "$seven" ]; then
    skip "7-Zip is not there" "$3: 7-Zip"
    return
  fi
  mkdir out
  theirs $seven x -y -oout "$1" > scratch/seven 2>&1 && cmp out/* "$2" > scratch/cmp 2>&1
  ok $? "$3: 7-Zip"
  rm -rf out
}

# Every sector from the overhead on is a marker's or what that one announces.
walk ()
{
  python3 - "$1" << 'EOF'
import struct, sys
data = open(sys.argv[1], "rb").read()
assert len(data) % 512 == 0
head = struct.unpack_from("<4sIIQQQQIQQQB4sH", data)
assert head[:3] == (b"KDMV", 3, 0x30001), head
assert head[9] == 0xffffffffffffffff and head[8] == 0
at, seen, last, named = head[10] * 512, "", -1, {}
while at < len(data):
    value, size, kind = struct.unpack_from("<QII", data, at)
    if size:
        assert value > last and value % 128 == 0
        last = value
        named[value // 128] = at // 512
        seen += "g"
        at = (at + 12 + size + 511) // 512 * 512
        continue
    seen += "%d" % kind
    if kind == 1:
        assert value == 4
        table = struct.unpack_from("<512I", data, at + 512)
        first = max(named) // 512 * 512
        assert all(table[i] == named.get(first + i, 0) for i in range(512))
    if kind == 3:
        foot = struct.unpack_from("<4sIIQQQQIQQQB4sH", data, at + 512)
        assert foot[:9] == head[:9] and foot[10:] == head[10:]
    at += 512 + value * 512
assert at == len(data) and seen.endswith("230"), seen
EOF
}

write_ours ()
{
  local name=$1
  "$img" convert -f raw -O vmdk -o $stream "$name.raw" "$name.vmdk" 2> scratch/err
  ok $? "convert $name to streamOptimized"
  qemu_reads "$name.vmdk" "$name.raw" "$name"
  seven_reads "$name.vmdk" "$name.raw" "$name"
  if have python3; then
    walk "$name.vmdk" 2> scratch/walk
    ok $? "$name: a stream of markers to the end"
  else
    skip "python3 is not there" "$name: a stream of markers to the end"
  fi
  "$img" compare -f vmdk -F raw "$name.vmdk" "$name.raw" > scratch/compare 2>&1
  ok $? "$name: we read the same"
  "$img" check -q "$name.vmdk" > scratch/check 2>&1
  ok $? "$name: we find nothing wrong"
}

# ---- theirs, read by us -----------------------------------------------------

read_theirs ()
{
  local name=$1
  theirs qemu-img convert -f raw -O vmdk -o $stream "$name.raw" "$name.theirs"
  "$img" compare -f vmdk -F raw "$name.theirs" "$name.raw" > scratch/compare 2>&1
  ok $? "$name: we read what qemu-img wrote"
  "$img" check -q -f vmdk "$name.theirs" > scratch/check 2>&1
  ok $? "$name: we find nothing wrong with what qemu-img wrote"
}

# ---- one file, whatever the way ---------------------------------------------

# The descriptor's content id is drawn anew each time.
write_with ()
{
  "$img" convert -m "$1" -f raw -O vmdk -o $stream mixed.raw one.vmdk
  sed 's/^CID=........$/CID=/' one.vmdk > "one-$1"
}

threads ()
{
  local m
  write_with 1
  for m in 2 5 16; do
    write_with $m
    cmp one-1 one-$m > scratch/cmp 2>&1
    ok $? "-m $m gives the file that -m 1 gives"
  done
  "$img" convert -O vmdk -o $stream mixed.raw - > pipe.vmdk 2> scratch/err
  qemu_reads pipe.vmdk mixed.raw "through a pipe"
  "$img" convert -S 0 -f raw -O vmdk -o $stream mixed.raw all.vmdk
  qemu_reads all.vmdk mixed.raw "-S 0"
  "$img" map --output=json all.vmdk > scratch/map
  ! grep -q '"zero": true' scratch/map
  ok $? "-S 0 stores zeros"
}

joined ()
{
  cat byte.raw mixed.raw byte.raw text.raw > whole.raw
  "$img" convert -f raw -O vmdk -o $stream byte.raw mixed.raw byte.raw text.raw \
    joined.vmdk 2> scratch/err
  ok $? "sources joined within a grain"
  qemu_reads joined.vmdk whole.raw "joined"
}

onto_old ()
{
  cp mixed.vmdk old.vmdk
  expect 1 "written once" convert -n -f raw -O vmdk mixed.raw old.vmdk
  cmp old.vmdk mixed.vmdk > scratch/cmp 2>&1
  ok $? "... and changes nothing"
  "$img" create -q -f vmdk -o $stream fresh.vmdk 1M 2> scratch/err
  qemu_reads fresh.vmdk /dev/null "an empty one"
  "$img" convert -n -f raw -O vmdk mixed.raw fresh.vmdk 2> scratch/err
  ok $? "convert -n into an empty one"
  cp mixed.raw longer.raw
  truncate -s 1M longer.raw
  qemu_reads fresh.vmdk longer.raw "-n"
  expect 1 "" resize fresh.vmdk 2M
}

back ()
{
  "$img" convert -O qcow2 mixed.vmdk back.qcow2 2> scratch/err
  theirs qemu-img compare -f qcow2 -F raw back.qcow2 mixed.raw > scratch/compare 2>&1
  ok $? "and on to qcow2"
  head -c $(($(stat -c %s random.vmdk) - 1024)) random.vmdk > cut.vmdk
  expect 1 "footer" convert -f vmdk -O raw cut.vmdk cut.raw
  [ ! -e cut.raw ]
  ok $? "... and leaves nothing"
}

make_disks
for disk in text random zeros byte mixed; do
  write_ours $disk
  read_theirs $disk
done
long write_ours sparse
long read_theirs sparse
threads
joined
onto_old
back
finish
