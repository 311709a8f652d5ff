#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# How a person names an image and its keys: --image-opts, json:, file:,
# --object.  What is not known is refused by name.
. "${VP_SRCDIR:-.}/tests/storage/img-functions.sh"

opts () {
  want=$1 words=$2 name=$3
  shift 3
  expect "$want" "$words" info "$@" --image-opts "$name"
}

"$img" create -q -f qcow2 a.qcow2 1M
"$img" create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2
head -c 1536 /dev/zero | tr '\0' '\101' > data.raw
printf 'BBBB' | dd of=data.raw bs=1 seek=512 conv=notrunc 2> /dev/null

# Words.
opts 0 "file format: qcow2" driver=qcow2,file.filename=a.qcow2
opts 0 "file format: qcow2" file.filename=a.qcow2
opts 0 "file format: qcow2" \
  driver=qcow2,file.driver=file,file.filename=a.qcow2,file.locking=off
opts 0 "virtual size: 1 MiB" \
  driver=qcow2,file.filename=a.qcow2,l2-cache-size=1M,cache.direct=on,node-name=x
opts 0 "virtual size: 1.5 KiB" driver=file,filename=data.raw
opts 1 "Must specify either driver or file" filename=a.qcow2
opts 1 "Cannot find device='a.qcow2' nor node-name='a.qcow2'" a.qcow2
opts 1 "A block device must be specified for \"file\"" driver=qcow2
opts 1 "does not support the option 'dance'" driver=qcow2,file.filename=a.qcow2,dance=1
opts 1 "Block protocol 'file' doesn't support the option 'dance'" \
  driver=qcow2,file.filename=a.qcow2,file.dance=1
opts 1 "Parameter 'l2-cache-size' expects" \
  driver=qcow2,file.filename=a.qcow2,l2-cache-size=much
opts 1 "Unknown driver 'dance'" driver=dance,file.filename=a.qcow2
opts 1 "Unknown driver 'nbd'" driver=raw,file.driver=nbd,file.host=x
opts 1 "a format below a format" driver=raw,file.driver=qcow2,file.file.filename=a.qcow2
opts 1 "Could not open" driver=qcow2,file.filename=none.qcow2
opts 1 "does not support the option 'offset'" driver=qcow2,file.filename=a.qcow2,offset=512
opts 1 "are mutually exclusive" driver=qcow2,file.filename=a.qcow2 -f qcow2
expect 1 "Block node is read-only" resize --image-opts \
  driver=qcow2,file.filename=a.qcow2,read-only=on 2M
expect 0 "Image resized." resize --image-opts driver=qcow2,file.filename=a.qcow2 2M

# JSON.
expect 0 "file format: qcow2" info \
  'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "a.qcow2"}}'
expect 0 "file format: qcow2" info -f qcow2 'json:{"file.filename": "a.qcow2"}'
expect 1 "JSON parse error" info 'json:{"driver": "qcow2"'
expect 1 "Invalid JSON object given" info json:3
expect 1 "does not support the option 'dance'" info \
  'json:{"driver": "qcow2", "file": {"filename": "a.qcow2"}, "dance": true}'

# Paths.
expect 0 "file format: qcow2" info file:a.qcow2
expect 1 "Unknown protocol 'dance'" info dance:a.qcow2
cp a.qcow2 with:colon
expect 0 "file format: qcow2" info with:colon
expect 1 "Could not open" info --image-opts driver=qcow2,file.filename=file:a.qcow2

# A part of a file.
part=driver=raw,file.filename=data.raw
opts 0 "virtual size: 512 B" $part,offset=512,size=512
"$img" convert -O raw --image-opts $part,offset=512,size=512 part.raw > scratch/out 2> scratch/err &&
  [ "$(stat -c %s part.raw)" -eq 512 ] && [ "$(head -c 4 part.raw)" = BBBB ]
ok $? "a part of a raw file is converted"
opts 0 "virtual size: 1 KiB" $part,offset=512
opts 1 "multiples of 512" $part,offset=100
opts 1 "has to be smaller or equal" $part,offset=512,size=4096
opts 1 "has to be smaller or equal" $part,offset=4096
opts 1 "expects a non-negative number" $part,offset=-1

# Backing files that are named.
json='json:{"driver": "qcow2", "file": {"driver": "file", "filename": "top.qcow2"}'
expect 0 '"depth": 0' map --output=json "$json, \"backing\": null}"
expect 0 '"depth": 1' map --output=json \
  "$json, \"backing\": {\"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": \"data.raw\"}}}"
expect 0 '"depth": 1' map --output=json --image-opts \
  driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.filename=data.raw
opts 1 "does not support the option 'dance'" \
  driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.filename=data.raw,backing.dance=1
opts 1 "Cannot find device='x'" driver=qcow2,file.filename=top.qcow2,backing=x
mv a.qcow2 moved.qcow2
expect 1 "Could not open backing file" map top.qcow2
expect 0 "" map --image-opts \
  driver=qcow2,file.filename=top.qcow2,backing.driver=qcow2,backing.file.filename=moved.qcow2
mv moved.qcow2 a.qcow2

# Names inside an image stay names of files.
"$img" create -q -f qcow2 -u -b 'json:{"driver":"raw"}' -F raw bad.qcow2 1M
expect 1 "is not a file" map bad.qcow2

# Objects.
object () {
  want=$1 words=$2
  shift 2
  expect "$want" "$words" info a.qcow2 --object "$@"
}
object 0 "" secret,id=s,data=geheim
object 0 "" '{"qom-type": "secret", "id": "s", "data": "geheim"}'
object 0 "" secret,id=s,data=Z2VoZWlt,format=base64
echo geheim > key
object 0 "" secret,id=s,file=key
object 1 "Unable to read none: No such file or directory" secret,id=s,file=none
object 1 "'file' and 'data' are mutually exclusive" secret,id=s,file=key,data=x
object 1 "Either 'file' or 'data' must be provided" secret,id=s
object 1 "Parameter 'id' is missing" secret,data=x
object 1 "Parameter 'qom-type' does not accept value 'iothread'" iothread,id=x
object 1 "Parameter 'dance' is unexpected" secret,id=s,data=x,dance=1
object 1 "Base64 data contains invalid characters" secret,id=s,data=@,format=base64
object 1 "Parameter 'format' does not accept value 'hex'" secret,id=s,data=x,format=hex
object 1 "attempt to add duplicate property 's'" secret,id=s,data=x --object secret,id=s,data=y
object 1 "No secret with id 'm'" secret,id=s,data=x,keyid=m,iv=AAAAAAAAAAAAAAAAAAAAAA==
head -c 70000 /dev/zero > big
object 1 "at most 64 KiB" secret,id=s,file=big
expect 1 "No secret with id 's'" map --image-opts \
  driver=qcow2,file.filename=a.qcow2,encrypt.key-secret=s
# A mistake does not print what is secret.
"$img" info --object secret,id=s,data=geheim,format=hex a.qcow2 > scratch/out 2> scratch/err
! grep -q geheim scratch/out scratch/err
ok $? "no message holds a secret"
finish
