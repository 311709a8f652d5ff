#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The matrix: cluster sizes by compat levels by features, both ways.  They
# write, we read the same bytes and our check says what theirs says; we write,
# their check is clean and their compare equal.  "make check" goes through the
# corners, "make check-system" (img-matrix-whole.sh) through all.  A combination
# that qemu-img itself refuses does not exist.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
for tool in qemu-img qemu-io prlimit timeout; do
  if ! command -v $tool > /dev/null; then
    echo "1..0 # SKIP $tool is not there to compare with"
    exit 77
  fi
done
memory=/dev/shm
[ -w $memory ] || memory=${TMPDIR:-/tmp}
dir=$(mktemp -d "$memory/vprov-matrix-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99
n=0

secret=(--object "secret,id=k,data=geheim")

ok () {
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    sed 's/^/# /' said
  fi
}

# They are no safe judges of odd images, and ours has a limit to keep (a
# sanitizer maps more than any).
cage ()
{
  if [ "$1" = "$img" ] && [ -n "${VP_SANITIZE:-}" ]; then
    timeout 60 "$@"
  else
    timeout 60 prlimit --data=1073741824 "$@"
  fi
}

# step COMMAND...: one step of a case; what it says is kept for the report.
step () {
  echo "\$ $*" >> said
  cage "$@" >> said 2>&1
}

# again COMMAND...: qemu-img measures how fast it derives keys, and gives up
# where the clock tells it too little.
again () {
  local i
  for i in 1 2 3 4 5 6 7 8; do
    grep -q "accurate CPU usage" said || return 1
    sed -i "s/accurate CPU usage/CPU usage, go $i/" said
    step "$@" && return
  done
  return 1
}

# ---- content ---------------------------------------------------------------

size=6M
# Text, noise, zeros and holes; ends in the middle of a cluster of 2 MiB.
make_raw () { # FILE SEED
  truncate -s $size "$1"
  {
    dd if=/dev/urandom of="$1" bs=1k seek=$((100 + $2)) count=700 conv=notrunc
    yes "$2 bottles of beer" | head -c 900k |
      dd of="$1" bs=1k seek=$((1500 + $2)) conv=notrunc
    dd if=/dev/urandom of="$1" bs=512 seek=$((9000 + $2)) count=3 conv=notrunc
    dd if=/dev/zero of="$1" bs=1k seek=1700 count=300 conv=notrunc
    dd if=/dev/urandom of="$1" bs=1k seek=5900 count=244 conv=notrunc
  } 2> /dev/null
}
make_raw a.raw 1
make_raw b.raw 7

# ---- one combination --------------------------------------------------------

# Of the feature: create options, and the name that opens the image.
options_of () { # CLUSTER COMPAT FEATURE
  local o=cluster_size=$1,compat=$2
  case $3 in
    zstd) o+=,compression_type=zstd ;;
    extended-l2) o+=,extended_l2=on ;;
    data-file) o+=,data_file=data.raw ;;
    luks) o+=,encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=50 ;;
    aes) o+=,encrypt.format=aes,encrypt.key-secret=k ;;
    lazy) o+=,lazy_refcounts=on ;;
    refcount-*) o+=,refcount_bits=${3#refcount-} ;;
  esac
  echo "$o"
}

named () { # FEATURE FILE: arguments that open FILE
  name=(-f qcow2 "$2")
  object=()
  case $1 in
    luks | aes)
      object=("${secret[@]}")
      name=(--image-opts "driver=qcow2,encrypt.format=$1,encrypt.key-secret=k,file.driver=file,file.filename=$2") ;;
  esac
}

# compare of a raw file and an image that may need a key.
compare_args () { # FEATURE RAW FILE
  case $1 in
    luks | aes)
      args=(compare "${secret[@]}" --image-opts
            "driver=raw,file.driver=file,file.filename=$2"
            "driver=qcow2,encrypt.format=$1,encrypt.key-secret=k,file.driver=file,file.filename=$3") ;;
    *) args=(compare -f raw -F qcow2 "$2" "$3") ;;
  esac
}

same_check () { # ARGUMENT...: exit status and what the JSON says
  cage qemu-img check --output=json "$@" > check.theirs 2>> said
  local st=$?
  cage "$img" check --output=json "$@" > check.ours 2>> said
  local so=$?
  if [ $st -ne $so ]; then
    echo "check: theirs says $st, ours $so" >> said
    return 1
  fi
  diff check.theirs check.ours >> said
}

they_write () { # CLUSTER COMPAT FEATURE
  local o r=0 name=() object=() args=()
  o=$(options_of "$@")
  rm -f t.qcow2 data.raw t.raw
  : > said
  if [ "$3" = backing ]; then
    step qemu-img create -q -f qcow2 -b a.raw -F raw -o "$o" t.qcow2 || return 1
  elif [ "$3" = zlib ] || [ "$3" = zstd ]; then
    step qemu-img convert -c -f raw -O qcow2 -o "$o" a.raw t.qcow2 || return 1
  else
    step qemu-img create -q "${secret[@]}" -f qcow2 -o "$o" t.qcow2 $size ||
      again qemu-img create -q "${secret[@]}" -f qcow2 -o "$o" t.qcow2 $size ||
      return 1
  fi
  named "$3" t.qcow2
  step qemu-io "${object[@]}" -c "write -P 11 0 100k" -c "write -z 4096 8k" \
    -c "write -P 12 1M 1M" -c "discard 1100k 256k" -c "write -P 13 3333k 1k" \
    -c "write -P 14 6143k 1k" "${name[@]}" || r=1
  if [ "$3" = snapshots ]; then
    step qemu-img snapshot -c one t.qcow2
    step qemu-io -c "write -P 15 50k 400k" t.qcow2
    step qemu-img snapshot -c two t.qcow2
    step qemu-io -c "write -P 16 2M 64k" -c "discard 0 64k" t.qcow2
  fi
  step qemu-img convert "${object[@]}" "${name[@]}" -O raw t.raw || r=1
  compare_args "$3" t.raw t.qcow2
  step "$img" "${args[@]}" || r=1
  step "$img" convert "${object[@]}" "${name[@]}" -O raw o.raw || r=1
  step cmp t.raw o.raw || r=1
  same_check "${object[@]}" "${name[@]}" || r=1
  if [ "$3" = snapshots ]; then
    step qemu-img convert -l one -f qcow2 -O raw t.qcow2 t.raw
    step "$img" convert -l one -f qcow2 -O raw t.qcow2 o.raw || r=1
    step cmp t.raw o.raw || r=1
  fi
  ok $r "$1 $2 $3: they write, we read"
}

clean () { # FEATURE RAW FILE: for their eyes
  local args=()
  compare_args "$@"
  named "$1" "$3"
  step qemu-img check "${object[@]}" "${name[@]}" && step qemu-img "${args[@]}"
}

we_write () { # CLUSTER COMPAT FEATURE
  local o r=0 how=(convert -f raw -O qcow2) name=() object=()
  o=$(options_of "$@")
  rm -f o.qcow2 data.raw
  : > said
  case $3 in
    backing) how=(convert -f raw -O qcow2 -B a.raw -F raw) ;;
    zlib | zstd) how=(convert -c -f raw -O qcow2) ;;
    luks | aes) how=(convert "${secret[@]}" -f raw -O qcow2) ;;
  esac
  step "$img" "${how[@]}" -o "$o" b.raw o.qcow2 || r=1
  [ $r -ne 0 ] || clean "$3" b.raw o.qcow2 || r=1
  # Over what is there: other bytes into the same image.
  if [ $r -eq 0 ] && [ "$3" = snapshots ]; then
    step "$img" snapshot -c one o.qcow2 || r=1
    step "$img" convert -n -f raw -O qcow2 a.raw o.qcow2 || r=1
    clean "$3" a.raw o.qcow2 || r=1
    step "$img" snapshot -c two o.qcow2 || r=1
    step "$img" snapshot -a one o.qcow2 || r=1
    clean "$3" b.raw o.qcow2 || r=1
    step "$img" snapshot -d one o.qcow2 || r=1
    clean "$3" b.raw o.qcow2 || r=1
    step "$img" snapshot -a two o.qcow2 || r=1
    clean "$3" a.raw o.qcow2 || r=1
    step "$img" snapshot -d two o.qcow2 || r=1
    clean "$3" a.raw o.qcow2 || r=1
  elif [ $r -eq 0 ] && [ "$3" != luks ] && [ "$3" != aes ]; then
    step "$img" convert -n -f raw -O qcow2 a.raw o.qcow2 || r=1
    clean "$3" a.raw o.qcow2 || r=1
  fi
  ok $r "$1 $2 $3: we write, they read"
}

both_ways () {
  if ! they_write "$@"; then
    none=$((none + 1))
    echo "# $*: $(tail -n 1 said)"
    return
  fi
  we_write "$@"
}

# ---- the table --------------------------------------------------------------

features=(plain backing zlib zstd snapshots extended-l2 data-file luks aes
          lazy refcount-1 refcount-8 refcount-16 refcount-64)
none=0
if [ -n "${VP_MATRIX_ONLY:-}" ]; then
  # shellcheck disable=SC2086 # three words
  both_ways $VP_MATRIX_ONLY
elif [ -n "${VP_TEST_LONG:-}" ]; then
  for cluster in 512 4096 65536 2097152; do
    for compat in 0.10 1.1; do
      for feature in "${features[@]}"; do
        both_ways $cluster $compat "$feature"
      done
    done
  done
else
  both_ways 512 1.1 snapshots
  both_ways 4096 0.10 zlib
  both_ways 4096 1.1 refcount-1
  both_ways 65536 1.1 zstd
  both_ways 65536 1.1 extended-l2
  both_ways 2097152 1.1 lazy
fi
echo "# $none combinations do not exist"
echo "1..$n"
