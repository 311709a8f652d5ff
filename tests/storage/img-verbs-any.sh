#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every verb on every format: what works does the right thing, what cannot be
# is refused in one line and changes nothing.
# shellcheck disable=SC2154 # variables of the functions
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

key=(--object "secret,id=k,data=geheim")
formats=" $("$img" --help | sed -n 's/^Supported formats: //p') "
kinds=()
for kind in raw cow qcow qcow2 vmdk vmdk-flat vmdk-split vmdk-stream vdi \
  vdi-static luks vpc vhdx; do
  case $formats in
    *" ${kind%%-*} "*) kinds+=("$kind") ;;
    *) skip "there is no driver" "$kind" ;;
  esac
done

options_of () { # KIND
  case $1 in
    vmdk-flat) echo -o subformat=monolithicFlat ;;
    vmdk-split) echo -o subformat=twoGbMaxExtentSparse ;;
    vmdk-stream) echo -o subformat=streamOptimized ;;
    vdi-static) echo -o static=on ;;
    luks) echo -o key-secret=k,iter-time=10 ;;
  esac
}

# One image of each in a folder of its own; vpc and vhdx by others, for whom
# they are.
size=1048576 # which VPC holds as it is only when it is forced to
head -c 300000 /dev/urandom > a.raw
truncate -s $size a.raw
for kind in "${kinds[@]}"; do
  mkdir "$kind"
  tool=$img
  case $kind in
    vpc | vhdx)
      tool=qemu-img
      have qemu-img || { skip "nobody makes it" "$kind"; rmdir "$kind"; continue; } ;;
  esac
  force=()
  [ "$kind" != vpc ] || force=(-o force_size=on)
  read -ra options < <(options_of "$kind")
  (cd "$kind" && "$tool" convert "${key[@]}" -f raw -O "${kind%%-*}" \
    "${options[@]}" "${force[@]}" ../a.raw x.img) || rm -r "$kind"
  [ -d "$kind" ]; ok $? "an image of $kind"
done

# expand KIND LINE: words of the line, with the image's name in them
expand () {
  local format=${1%%-*} word
  words=()
  for word in $2; do
    case $word in
      IMAGE)
        if [ "$format" = luks ]; then
          words+=("${key[@]}" --image-opts "driver=luks,key-secret=k,file.filename=x.img")
        else
          words+=(-f "$format" x.img)
        fi ;;
      EMPTY) words+=("") ;;
      *) words+=("${word//FORMAT/$format}") ;;
    esac
  done
}

# same_as_before KIND: not a byte of the image, its extents or its folder
same_as_before () { diff -r "$1" work > scratch/diff 2>&1; }

# row KIND LINE STATUS SAID
row () {
  local kind=$1 status=$3 said=$4 words got
  rm -rf work
  cp -r --sparse=always "$kind" work
  expand "$kind" "$2"
  (cd work && "$img" "${words[@]}") > scratch/out 2> scratch/err
  got=$?
  echo "status $got, not $status: $said" > scratch/status
  [ $got -eq "$status" ] && { [ -z "$said" ] || grep -qF -e "$said" scratch/out scratch/err; }
  ok $? "$kind: $2 -> $status $said"
  if [ "$status" -ne 0 ]; then
    same_as_before "$kind"
    ok $? "... changes nothing"
  fi
}

# The table: a line, then what comes of it: kinds, status, what is said.  Every
# kind has to be in one row of each line.
while IFS='|' read -r line rest; do
  read -r line <<< "$line"
  case $line in
    '' | '#'*) continue ;;
  esac
  for kind in "${kinds[@]}"; do
    [ -d "$kind" ] || continue
    found=
    IFS='|' read -ra cells <<< "$rest"
    for ((i = 0; i < ${#cells[@]} && ${#found} == 0; i += 3)); do
      for one in ${cells[i]}; do
        # shellcheck disable=SC2053 # patterns
        [[ $kind == $one ]] || continue
        found=yes
        said=${cells[i + 2]-}
        said=${said# }
        row "$kind" "$line" $((cells[i + 1])) "${said% }"
        break
      done
    done
    [ -n "$found" ]; ok $? "$line has a row for $kind"
  done
done << 'END'
info IMAGE | * | 0 | virtual size: 1 MiB (1048576 bytes)
info --output=json IMAGE | * | 0 | "virtual-size": 1048576,
check IMAGE | raw vpc vhdx | 63 | This image format does not support checks | * | 0 | No errors were found on the image.
check --output=json IMAGE | raw vpc vhdx | 63 | | * | 0 | "check-errors": 0
check -r all IMAGE | raw | 63 | This image format does not support checks | vpc vhdx | 1 | Could not open | * | 0 | No errors were found on the image.
map IMAGE | luks vmdk-stream | 1 | File contains external, encrypted or compressed clusters. | * | 0 | Mapped to
map --output=json IMAGE | * | 0 | "start": 0,
measure -O qcow2 IMAGE | * | 0 | fully allocated size: 1376256
checksum IMAGE | * | 0 |
compare -F raw IMAGE ../a.raw | luks | 1 | --image-opts and --format are mutually exclusive | * | 0 | Images are identical.
bench -c 1 IMAGE | * | 0 | Run completed
bench -w -c 1 IMAGE | vpc vhdx vmdk-stream | 1 | Could not open | * | 0 | Run completed
dd bs=64k count=2 -f FORMAT -O raw if=x.img of=y.img | luks | 1 | Parameter 'key-secret' is required for cipher | * | 0 |
dd bs=64k count=2 -f FORMAT -O FORMAT if=x.img of=y.img | luks | 1 | Parameter 'key-secret' is required for cipher | vpc vhdx | 1 | Format driver | * | 0 |
convert -O FORMAT -f FORMAT x.img y.img | luks | 1 | Parameter 'key-secret' is required for cipher | vpc | 1 | Format driver 'vpc' does not support image creation | vhdx | 1 | Format driver 'vhdx' does not support image creation | * | 0 |
create -q -f FORMAT y.img 1M | luks | 1 | Parameter 'key-secret' is required for cipher | vpc | 1 | Format driver 'vpc' does not support image creation | vhdx | 1 | Format driver 'vhdx' does not support image creation | * | 0 |
snapshot -l IMAGE | * | 0 |
snapshot -c s IMAGE | qcow2 | 0 | | * | 1 | Could not
snapshot -a s IMAGE | * | 1 | Could not
snapshot -d s IMAGE | * | 1 | Could not
amend -o compat=1.1 IMAGE | qcow2 | 0 | | luks | 1 | Invalid parameter 'compat' | vpc vhdx vmdk-stream | 1 | | * | 1 | does not support option amendment
amend -o size=2M IMAGE | qcow2 | 0 | | luks | 1 | Invalid parameter 'size' | vpc vhdx vmdk-stream | 1 | | * | 1 | does not support option amendment
bitmap --add IMAGE b | qcow2 | 0 | | vpc vhdx vmdk-stream | 1 | | * | 1 | Operation add on bitmap b failed: Can't store persistent bitmaps to
rebase -u -b EMPTY IMAGE | qcow qcow2 cow vmdk vmdk-flat vmdk-split | 0 | | vpc vhdx vmdk-stream | 1 | | * | 1 | Could not change the backing file to '': Operation not supported
rebase -u -b none -F raw IMAGE | qcow qcow2 cow | 0 | | vmdk vmdk-flat vmdk-split | 1 | Could not open new backing file | vpc vhdx vmdk-stream | 1 | | * | 1 | Could not change the backing file to 'none': Operation not supported
commit IMAGE | vpc vhdx vmdk-stream | 1 | | * | 1 | Image does not have a backing file
resize IMAGE 1200k | vpc vhdx vmdk-stream | 1 | | * | 0 | Image resized.
resize IMAGE 512k | * | 1 |
resize --shrink IMAGE 512k | cow | 1 | cannot be shrunk | vmdk vmdk-split | 1 | cannot be resized: sparse extents only grow | vpc vhdx vmdk-stream | 1 | | * | 0 | Image resized.
resize --preallocation=odd IMAGE 2M | * | 1 | Invalid preallocation mode 'odd'
info --image-opts driver=FORMAT,file.driver=file,file.filename=x.img | luks | 0 | file format: luks | * | 0 | virtual size: 1 MiB (1048576 bytes)
info x.img | * | 0 | virtual size: 1 MiB (1048576 bytes)
END

# ---- growing, for those that can ---------------------------------------------

cp a.raw grown.raw
truncate -s 1200k grown.raw
for kind in "${kinds[@]}"; do
  case $kind in vpc | vhdx | vmdk-stream) continue ;; esac
  [ -d "$kind" ] || continue
  end=1228800 zeros=
  [ "$kind" != luks ] || end=1048576 zeros=" " # noise, until it is written
  rm -rf work
  cp -r --sparse=always "$kind" work
  expand "$kind" IMAGE
  (cd work && "$img" resize -q "${words[@]}" 1200k &&
    "$img" convert "${words[@]}" -O raw back.raw && cmp -n $end back.raw ../grown.raw &&
    [ "$(stat -c %s back.raw)" = 1228800 ]) > scratch/said 2>&1
  ok $? "$kind: what was there is there${zeros:-, zeros are behind it}"
done

# ---- with a backing file, for those that have one ------------------------------

size=3145728
head -c 700000 /dev/urandom > base.raw
truncate -s $size base.raw
cp base.raw top.raw
"$img" bench -f raw -w -c 4 -s 50k -o 512k --pattern=5 top.raw > /dev/null
for kind in "${kinds[@]}"; do
  case $kind in cow | qcow | qcow2 | vmdk | vmdk-split) ;; *) continue ;; esac
  format=${kind%%-*}
  read -ra options < <(options_of "$kind")
  # step COMMAND...; into KIND's folder, anew
  step () { echo "\$ $*" >> ../scratch/said; "$@" >> ../scratch/said 2>&1; }
  fresh () {
    rm -rf work
    mkdir work
    cd work || exit 99
    step "$img" convert -f raw -O "$format" "${options[@]}" ../base.raw base.img &&
      step "$img" create -q -f "$format" "${options[@]}" -b base.img -F "$format" top.img &&
      step "$img" bench -f "$format" -w -c 4 -s 50k -o 512k --pattern=5 top.img
  }
  like () { # FILE RAW
    step "$img" convert -f "$format" -O raw "$1" back.raw && step cmp back.raw "../$2" &&
      step "$img" check -q -f "$format" "$1"
  }
  (fresh && like top.img top.raw && like base.img base.raw); ok $? "$kind: an overlay"
  (fresh && step "$img" commit -f "$format" top.img && like base.img top.raw)
  ok $? "$kind: commit"
  (fresh && step "$img" commit -d -f "$format" top.img && like base.img top.raw)
  ok $? "$kind: commit -d"
  (fresh && step "$img" map -f "$format" --output=json top.img &&
    step grep -q '"depth": 1' ../scratch/said)
  ok $? "$kind: map shows both layers"
  (fresh && step "$img" info --backing-chain -f "$format" top.img &&
    step grep -q "^backing file: base.img" ../scratch/said)
  ok $? "$kind: info shows the chain"
  (fresh && cp base.img other.img &&
    step "$img" rebase -u -f "$format" -b other.img -F "$format" top.img &&
    rm base.img && like top.img top.raw)
  ok $? "$kind: rebase -u"
  (fresh && step "$img" create -q -f "$format" other.img 3M &&
    step "$img" rebase -f "$format" -b other.img -F "$format" top.img &&
    rm base.img && like top.img top.raw)
  ok $? "$kind: rebase onto another"
  (fresh && step "$img" rebase -f "$format" -b "" top.img &&
    rm base.img && like top.img top.raw)
  ok $? "$kind: rebase onto none"
done
finish
