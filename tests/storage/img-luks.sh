#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# LUKS disks as people use them: making, converting, keys that come and go,
# wrong and missing ones; qemu-img and cryptsetup judge where they are there,
# both ways.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

key="--object secret,id=k,data=geheim"
more="--object secret,id=n,data=neu --object secret,id=w,data=falsch"
quick="key-secret=k,iter-time=1"
opts () { echo "driver=luks,file.filename=$1,key-secret=${2:-k}"; }

head -c 700000 /dev/urandom > data.raw
truncate -s 2M data.raw

# ---- by itself
# shellcheck disable=SC2086 # words on purpose, here and below
{
expect 0 "fmt=luks size=2097152 key-secret=k iter-time=1" \
  create -f luks $key -o $quick new.luks 2M
expect 1 "'key-secret' is required" create -f luks -o iter-time=1 no.luks 1M
expect 1 "No secret with id" create -f luks -o key-secret=gone no.luks 1M
expect 1 "does not accept value" create -f luks $key -o $quick,cipher-alg=rot13 no.luks 1M
[ ! -e no.luks ]
ok $? "what cannot be made leaves nothing"
expect 0 "encrypted: yes" info new.luks
expect 0 "No errors" check new.luks
expect 1 "'key-secret' is required" convert new.luks out.raw
expect 1 "Invalid password" convert $more --image-opts "$(opts new.luks w)" out.raw
for with in cipher-alg=aes-128 cipher-alg=serpent-256 cipher-alg=twofish-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256 \
            hash-alg=sha512 cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=plain64 preallocation=full preallocation=metadata; do
  case $with in cipher-alg=twofish-128*) with=cipher-alg=twofish-256,${with#*,} ;; esac
  rm -f x.luks
  expect 0 "" convert -f raw -O luks $key -o $quick,$with data.raw x.luks
  expect 0 identical compare $key --image-opts "$(opts x.luks)" driver=raw,file.filename=data.raw
  if have qemu-img; then
    theirs qemu-img compare $key --image-opts "$(opts x.luks)" driver=raw,file.filename=data.raw > scratch/out 2>&1
    ok $? "qemu-img reads $with"
  fi
done

# What is in it is raw, whatever it looks like.
"$img" create -q -f qcow2 -b /etc/passwd -F raw -u inner.qcow2 1M
expect 0 "" convert -f raw -O luks $key -o $quick inner.qcow2 outer.luks
expect 0 "" convert $key --image-opts "$(opts outer.luks)" -O raw inner.raw
cmp -n "$(wc -c < inner.qcow2)" inner.qcow2 inner.raw > scratch/out
ok $? "an image within is bytes"
expect 0 "luks" info --backing-chain $key --image-opts "$(opts outer.luks)"

# ---- keys
expect 0 "" amend $key $more --image-opts "$(opts new.luks)" -o state=active,new-secret=n,iter-time=1
expect 0 "" convert $more --image-opts "$(opts new.luks n)" out.raw
expect 1 "'new-secret' is required" amend $key --image-opts "$(opts new.luks)" -o state=active
expect 1 "Refusing to overwrite" amend $key $more --image-opts "$(opts new.luks)" -o state=active,new-secret=n,keyslot=0,iter-time=1
expect 0 "" amend $key $more --image-opts "$(opts new.luks n)" -o state=inactive,old-secret=k
expect 1 "Invalid password" convert $key --image-opts "$(opts new.luks)" out.raw
expect 1 "refusing operation" amend $more --image-opts "$(opts new.luks n)" -o state=inactive,old-secret=n
expect 1 "Invalid parameter" amend $more --image-opts "$(opts new.luks n)" -o cipher-alg=aes-128
expect 0 "" amend --force $more --image-opts "$(opts new.luks n)" -o state=inactive,old-secret=n
expect 2 "no key slot is active" check new.luks

# ---- size
rm -f x.luks
"$img" convert -f raw -O luks $key -o $quick data.raw x.luks
expect 0 "resized" resize $key --image-opts "$(opts x.luks)" +1M
expect 0 "3 MiB" info x.luks
expect 0 "resized" resize --shrink $key --image-opts "$(opts x.luks)" 1M
"$img" convert $key --image-opts "$(opts x.luks)" -O raw out.raw
cmp -n 1048576 data.raw out.raw > scratch/out && [ "$(wc -c < out.raw)" = 1048576 ]
ok $? "a shorter disk has the same bytes"

# ---- qemu-img
if have qemu-img && have qemu-io; then
  same info x.luks
  same info --output=json x.luks
  same info $key --output=json --image-opts "$(opts x.luks)"
  same measure $key -O luks -o key-secret=k,iter-time=100 --size 123M
  same measure $key -O luks -o key-secret=k,iter-time=100,cipher-alg=aes-128 -f raw data.raw
  same measure $key -O luks --size 1M
  same map $key --image-opts "$(opts x.luks)"
  same map $key --output=json --image-opts "$(opts x.luks)"
  same convert x.luks out.raw
  reset="rm -f made.luks" same create $key -f luks -o key-secret=k,iter-time=100 made.luks 1M
  rm -f q.luks
  for _ in 1 2 3 4 5; do
    theirs qemu-img convert -f raw -O luks $key -o key-secret=k,iter-time=100 data.raw q.luks > scratch/out 2>&1 && break
  done
  expect 0 identical compare $key --image-opts "$(opts q.luks)" driver=raw,file.filename=data.raw
  theirs qemu-io $key --image-opts "$(opts x.luks)" -c 'write -P 7 1000 3000' > scratch/out 2>&1
  "$img" convert $key --image-opts "$(opts x.luks)" -O raw out.raw
  [ "$(dd if=out.raw bs=1000 skip=1 count=3 2> scratch/dd | tr -d '\007' | wc -c)" = 0 ]
  ok $? "what qemu-io writes is there"
else
  skip "qemu-img and qemu-io are not installed" "compared with qemu-img"
fi

# ---- cryptsetup
pass () { printf %s "$1" | cryptsetup luksOpen --test-passphrase --key-file=- ${3:+-S "$3"} "$2" > scratch/cs 2>&1; }
if have cryptsetup; then
  printf geheim > pass
  printf neu > pass2
  fast="--pbkdf-force-iterations 1000 --use-urandom --batch-mode --key-file pass"
  for with in "" "--align-payload=8192" "-c aes-cbc-essiv:sha256 -s 256 -h sha1" "-c serpent-xts-plain64 -s 512 -h sha512" \
              "-c aes-xts-plain64 -s 256 --align-payload=1"; do
    rm -f c.luks
    truncate -s 20M c.luks
    if ! cryptsetup luksFormat --type luks1 $fast $with c.luks > scratch/out 2>&1; then
      skip "cryptsetup cannot make it here" "cryptsetup's $with"
      continue
    fi
    expect 0 "file format: luks" info c.luks
    cryptsetup luksAddKey --pbkdf-force-iterations 1000 --key-file pass c.luks pass2 > scratch/out 2>&1
    cryptsetup luksKillSlot --batch-mode --key-file pass2 c.luks 0 > scratch/out 2>&1
    expect 1 "Invalid password" convert $key --image-opts "$(opts c.luks)" out.raw
    expect 0 "" convert -n -f raw $more --target-image-opts data.raw "$(opts c.luks n)"
    "$img" convert $more --image-opts "$(opts c.luks n)" -O raw out.raw
    cmp -n 2097152 data.raw out.raw > scratch/out
    ok $? "a disk of cryptsetup's, $with"
    if have qemu-img; then
      theirs qemu-img convert $more --image-opts "$(opts c.luks n)" -O raw out2.raw > scratch/out 2>&1 &&
        cmp out.raw out2.raw >> scratch/out 2>&1
      ok $? "... as qemu-img reads it"
    fi
    expect 0 "" amend $key $more --image-opts "$(opts c.luks n)" -o state=active,new-secret=k,iter-time=1,keyslot=7
    pass geheim c.luks 7
    ok $? "... with a slot of ours"
  done
  rm -f x.luks
  "$img" create -q -f luks $key -o $quick x.luks 1M
  "$img" amend $key $more --image-opts "$(opts x.luks)" -o state=active,new-secret=n,iter-time=1,keyslot=5
  cryptsetup luksDump x.luks > scratch/out 2>&1 && grep -q 'Key Slot 5: ENABLED' scratch/out
  ok $? "cryptsetup reads our header"
  pass geheim x.luks 0 && pass neu x.luks 5 && ! pass geheim x.luks 5 && ! pass falsch x.luks
  ok $? "... and our slots"
  rm -f c.luks
  truncate -s 20M c.luks
  if cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 $fast c.luks > scratch/out 2>&1; then
    expect 1 "LUKS version 2 is not supported: open it with cryptsetup" info c.luks
  else
    skip "cryptsetup cannot make it here" "LUKS2"
  fi
else
  skip "cryptsetup is not installed" "judged by cryptsetup"
fi
}
finish
