#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# vprov-img convert from any format to any other: every source beside every
# target, every source option over every source, and the conversions that
# people do every day.  The content is compared with the raw disk that all of
# them come from: by us, and by qemu-img where it reads the format.
# shellcheck disable=SC2154 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"
for tool in qemu-img prlimit timeout; do
  if ! have $tool; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done

key=(--object "secret,id=k,data=geheim")
formats=" $("$img" --help | sed -n 's/^Supported formats: //p') "
kinds=()
for kind in raw cow qcow qcow2 vmdk vmdk-flat vmdk-split vmdk-split-flat \
  vmdk-stream vdi vdi-static luks; do
  case $formats in
    *" ${kind%%-*} "*) kinds+=("$kind") ;;
    *) skip "there is no driver" "$kind" ;;
  esac
done

# into KIND: what makes such a target
into () {
  to=(-O "${1%%-*}")
  case $1 in
    vmdk-flat) to+=(-o subformat=monolithicFlat) ;;
    vmdk-split) to+=(-o subformat=twoGbMaxExtentSparse) ;;
    vmdk-split-flat) to+=(-o subformat=twoGbMaxExtentFlat) ;;
    vmdk-stream) to+=(-o subformat=streamOptimized) ;;
    vdi-static) to+=(-o static=on) ;;
    luks) to+=(-o "key-secret=k,iter-time=10") ;;
  esac
}

# from KIND FILE...: what opens them as sources
from () {
  local kind=$1 file
  shift
  how=(-f "${kind%%-*}") names=("$@")
  if [ "$kind" = luks ]; then
    how=(--image-opts) names=()
    for file; do names+=("driver=luks,key-secret=k,file.filename=$file"); done
  fi
}

# step COMMAND...: one step of a case; what it says is kept for the report.
step () {
  echo "\$ $*" >> scratch/said
  "$@" >> scratch/said 2>&1
}

# holds KIND FILE RAW: the same bytes, for us and for them, and a clean check
holds () {
  local how names name
  from "$1" "$2"
  step "$img" convert "${key[@]}" "${how[@]}" -O raw "${names[0]}" back.raw &&
    step cmp back.raw "$3" || return 1
  rm back.raw
  step "$img" check -q -f "${1%%-*}" "$2"
  case $? in 0 | 63) ;; *) return 1 ;; esac
  [ "$1" != cow ] || return 0 # nothing else reads it
  name=driver=${1%%-*},file.filename=$2
  [ "$1" != luks ] || name=${names[0]}
  step theirs qemu-img compare "${key[@]}" --image-opts "$name" \
    "driver=raw,file.filename=$3"
}

# convert KIND SOURCE... -- KIND TARGET [OPTION...]
convert () {
  local files=() kind=$1 how names to
  shift
  while [ "$1" != -- ]; do files+=("$1"); shift; done
  from "$kind" "${files[@]}"
  into "$2"
  local target=$3
  shift 3
  step "$img" convert "${key[@]}" "${how[@]}" "${to[@]}" "$@" "${names[@]}" \
    "$target"
}

remove () { rm -f "$1" "${1%.*}"-[fs]*."${1##*.}"; }

blocks () { # of a file and its extents, in bytes
  stat -c %b "$1" "${1%.*}"-[fs]*."${1##*.}" 2> /dev/null |
    awk '{ n += $1 } END { print n * 512 }'
}

# Text, noise, holes, written zeros; an odd number of sectors.
fill () { dd of="$1" bs=512 seek="$2" conv=notrunc 2> /dev/null; }
sectors=$((10 * 1024 + 3))
head -c 300000 /dev/urandom > noise
truncate -s $((sectors * 512)) a.raw
{ cat noise; yes "a line of text" | head -c 400000; head -c 200000 /dev/zero; } |
  fill a.raw 100
fill a.raw 6000 < noise
head -c 1536 noise | fill a.raw $((sectors - 3))
used=$(blocks a.raw)

# ---- every source beside every target ---------------------------------------

sources=()
for kind in "${kinds[@]}"; do
  convert raw a.raw -- "$kind" "s-$kind.img" && holds "$kind" "s-$kind.img" a.raw
  ok $? "from raw to $kind"
  cp a.raw "s-$kind.raw"
  sources+=("$kind")
done
for kind in vpc vhdx; do # read only; their disks are larger
  case $formats in *" $kind "*) ;; *) skip "there is no driver" $kind; continue ;; esac
  theirs qemu-img convert -f raw -O $kind a.raw s-$kind.img &&
    theirs qemu-img convert -f $kind -O raw s-$kind.img s-$kind.raw
  sources+=("$kind")
done

for kind in "${sources[@]}"; do
  for other in "${kinds[@]}"; do
    convert "$kind" "s-$kind.img" -- "$other" t.img &&
      holds "$other" t.img "s-$kind.raw"
    ok $? "from $kind to $other"
    # Flat or not, what is sparse stays so.
    room=1048576
    case $other in
      vdi*) room=6291456 ;;
      luks) room=$((sectors * 512 + 2097152)) ;; # zeros are not, on the disk
    esac
    taken=$(blocks t.img)
    echo "it takes $taken, the source $used" >> scratch/said
    [ "$taken" -le $((used + room)) ]; ok $? "... takes no more than its bytes"
    remove t.img
  done
done

# ---- every option beside every source ---------------------------------------

for kind in "${sources[@]}"; do
  source=s-$kind.img raw=s-$kind.raw
  while read -r options; do
    read -ra words <<< "$options"
    convert "$kind" "$source" -- qcow2 t.img "${words[@]}" && holds qcow2 t.img "$raw"
    ok $? "convert $options from $kind"
    rm -f t.img
  done << 'END'
-c
-c --compress-level=9
-S 0
-S 64k
-m 1
-m 16 -W
-r 1G
-p
-q
-U
-C
-t none -T none
-t unsafe -T writeback
--salvage
END
  convert "$kind" "$source" -- raw t.img -S 0 && cmp -s t.img "$raw" &&
    [ "$(stat -c %b t.img)" -ge "$(($(stat -c %s "$raw") / 512))" ]
  ok $? "convert -S 0 from $kind to raw stores every byte"
  truncate -s 0 t.img
  truncate -s "$(stat -c %s "$raw")" t.img
  from "$kind" "$source"
  step "$img" convert "${key[@]}" "${how[@]}" -n --target-is-zero -O raw \
    "${names[@]}" t.img && cmp -s t.img "$raw"
  ok $? "convert -n --target-is-zero from $kind"
  rm t.img
  cat "$raw" "$raw" > twice.raw
  for other in qcow2 raw; do
    convert "$kind" "$source" "$source" -- $other t.img && holds $other t.img twice.raw
    ok $? "two of $kind joined to $other"
    rm -f t.img
  done
  case $kind in luks) ;; *)
    step "$img" convert --image-opts -O qcow2 \
      "driver=${kind%%-*},file.driver=file,file.filename=$source" t.img &&
      holds qcow2 t.img "$raw"
    ok $? "convert --image-opts from $kind"
    rm -f t.img
    step "$img" convert -O qcow2 \
      "json:{\"driver\": \"${kind%%-*}\", \"file\": {\"driver\": \"file\", \"filename\": \"$source\"}}" \
      t.img && holds qcow2 t.img "$raw"
    ok $? "convert json: from $kind"
    rm -f t.img
    step "$img" convert -O qcow2 "$source" t.img && holds qcow2 t.img "$raw"
    ok $? "convert from $kind, which is guessed"
    rm -f t.img ;;
  esac
done

# ---- every option beside every target ---------------------------------------

# Of the disk, and of a snapshot.
cat a.raw a.raw > twice.raw
"$img" convert -f raw -O qcow2 a.raw snap.qcow2
"$img" snapshot -c before snap.qcow2
"$img" bench -f qcow2 -w -c 3 -s 100k -o 1M --pattern=7 snap.qcow2 > /dev/null
{ head -c 3000320 a.raw; head -c $((sectors * 512 - 3000320)) /dev/zero; } > half.raw
cp half.raw written.raw
"$img" bench -f raw -w -c 3 -s 100k -o 1M --pattern=7 written.raw > /dev/null
for kind in "${kinds[@]}"; do
  convert qcow2 snap.qcow2 -- "$kind" t.img -l before && holds "$kind" t.img a.raw
  ok $? "convert -l to $kind"
  remove t.img
  convert raw a.raw a.raw -- "$kind" t.img && holds "$kind" t.img twice.raw
  ok $? "two joined to $kind"
  remove t.img
  convert raw a.raw -- "$kind" t.img -S 0 && holds "$kind" t.img a.raw
  ok $? "convert -S 0 to $kind"
  remove t.img
  case $kind in
    qcow | qcow2 | vmdk-stream)
      convert raw a.raw -- "$kind" t.img -c && holds "$kind" t.img a.raw
      ok $? "convert -c to $kind"
      taken=$(blocks t.img)
      echo "it takes $taken, the source $used" >> scratch/said
      [ "$taken" -lt $((used * 8 / 10)) ]; ok $? "... is smaller"
      remove t.img ;;
    *)
      into "$kind"
      expect 1 "Compression not supported for this file format" convert "${key[@]}" \
        -c "${to[@]}" a.raw t.img
      [ ! -e t.img ]; ok $? "... leaves no file" ;;
  esac
  case $kind in
    raw | vdi* | luks | vmdk-flat | vmdk-split-flat | vmdk-stream) ;;
    *)
      # The base holds half of it.
      format=${kind%%-*} base=base.$kind
      into "$kind"
      "$img" convert -f raw "${to[@]}" half.raw "$base"
      convert raw a.raw -- "$kind" t.img -B "$base" -F "$format" &&
        holds "$kind" t.img a.raw
      ok $? "convert -B to $kind"
      "$img" info t.img > scratch/said
      grep -q "^backing file: $base" scratch/said; ok $? "... on its base"
      remove t.img
      step "$img" create "${to[@]/#-O/-f}" -b "$base" -F "$format" t.img &&
        step "$img" bench -f "$format" -w -c 3 -s 100k -o 1M --pattern=7 t.img &&
        convert "$kind" t.img -- "$kind" u.img -B "$base" -F "$format" &&
        holds "$kind" u.img written.raw
      ok $? "convert -B to $kind, of an image on the same base"
      echo "it takes $(blocks u.img), its base $(blocks "$base")" >> scratch/said
      [ "$(blocks u.img)" -lt 600000 ]; ok $? "... which is not copied"
      remove t.img; remove u.img; remove "$base" ;;
  esac
done
for kind in vpc vhdx; do
  case $formats in *" $kind "*) ;; *) continue ;; esac
  expect 1 "Format driver '$kind' does not support image creation" \
    convert -O $kind a.raw t.img
  [ ! -e t.img ]; ok $? "... leaves no file"
done

# ---- sizes ------------------------------------------------------------------

# rounded SAID ARGUMENT...: one line on stderr, "" for none
rounded () {
  local said=$1
  shift
  "$img" "$@" > scratch/out 2> scratch/said || return 1
  if [ -z "$said" ]; then [ ! -s scratch/said ]; return; fi
  [ "$(wc -l < scratch/said)" = 1 ] && grep -qF "$said" scratch/said
}

# No format here has a part of a sector; each says so, unless -q.
head -c 1000001 a.raw > odd.raw
{ cat odd.raw; head -c 447 /dev/zero; } > even.raw
said="t.img: the disk has 1000448 bytes, not 1000001"
for kind in "${kinds[@]}"; do
  into "$kind"
  rounded "$said" convert "${key[@]}" -f raw "${to[@]}" odd.raw t.img &&
    holds "$kind" t.img even.raw
  ok $? "1000001 bytes to $kind: rounded up, with a word"
  remove t.img
  rounded "" convert -q "${key[@]}" -f raw "${to[@]}" odd.raw t.img
  ok $? "... without one for -q"
  remove t.img
  rounded "$said" create "${key[@]}" "${to[@]/#-O/-f}" t.img 1000001
  ok $? "create of 1000001 bytes, $kind: rounded up, with a word"
  remove t.img
done

# ---- how large they will be ---------------------------------------------------

# Without written zeros, which only a copy finds out.
truncate -s $((sectors * 512)) m.raw
head -c 100000 noise | fill m.raw 128
cat noise noise | fill m.raw 5000
head -c 200000 noise | fill m.raw 9000
figure () { sed -n "s/^$1: \([0-9]*\)\$/\1/p" scratch/said; }
for kind in "${kinds[@]}"; do
  into "$kind"
  "$img" measure "${key[@]}" "${to[@]}" -f raw m.raw > scratch/said 2>&1 &&
    required=$(figure "required size") whole=$(figure "fully allocated size") &&
    "$img" convert "${key[@]}" "${to[@]}" -f raw m.raw t.img 2>> scratch/said
  taken=$(stat -c %s t.img t-[fs]*.img 2> /dev/null | awk '{ n += $1 } END { print n }')
  echo "it takes $taken" >> scratch/said
  # How well it packs is not known before.
  least=$((${required:-0} * 9 / 10))
  [ "$kind" != vmdk-stream ] || least=1
  [ "$taken" -le "${required:-0}" ] && [ "$taken" -ge $least ]
  ok $? "measure -O $kind says what convert takes"
  remove t.img
  "$img" convert "${key[@]}" "${to[@]}" -S 0 -f raw m.raw t.img 2>> scratch/said
  taken=$(stat -c %s t.img t-[fs]*.img 2> /dev/null | awk '{ n += $1 } END { print n }')
  echo "fully allocated it takes $taken of ${whole:-0}" >> scratch/said
  least=$((${whole:-0} * 9 / 10))
  [ "$kind" != vmdk-stream ] || least=1
  [ "$taken" -le "${whole:-0}" ] && [ "$taken" -ge $least ]
  ok $? "... and fully allocated"
  remove t.img
done

# ---- what people do every day -----------------------------------------------

everyday () { # KIND TARGET: one command, as they type it
  local kind=$1 other=$2
  case " ${kinds[*]} " in *" $kind "*) ;; *) skip "no driver" "$kind"; return ;; esac
  case " ${kinds[*]} " in *" $other "*) ;; *) skip "no driver" "$other"; return ;; esac
  step "$img" convert -f "$kind" -O "$other" "s-$kind.img" "disk.$other" &&
    holds "$other" "disk.$other" a.raw
  ok $? "every day: $kind to $other in one command"
  remove "disk.$other"
}
everyday vmdk qcow2
everyday qcow2 raw
everyday vdi qcow2
everyday raw vmdk
everyday qcow qcow2
everyday cow qcow2

# A raw disk grows by appending, or by resize; both as dd's way did.
cp a.raw grown.raw
dd if=/dev/zero bs=1M count=3 2> /dev/null >> grown.raw
cp a.raw resized.raw
step "$img" resize -f raw resized.raw +3M && step cmp grown.raw resized.raw
ok $? "every day: a raw disk grows by dd, or by resize, to the same"
expect 0 "virtual size: 8 MiB ($((sectors * 512 + 3145728)) bytes)" info -f raw grown.raw
step "$img" dd -f raw -O raw bs=64k if=grown.raw of=ours.raw &&
  dd bs=64k if=grown.raw of=theirs.raw 2>> scratch/said && step cmp ours.raw theirs.raw
ok $? "every day: dd reads a raw disk as dd does"
dd if=/dev/zero bs=1M count=1 2> /dev/null >> grown.raw
step "$img" convert -f raw -O qcow2 grown.raw t.img && holds qcow2 t.img grown.raw
ok $? "every day: what was appended is converted"
finish
