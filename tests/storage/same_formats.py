# SPDX-License-Identifier: LGPL-2.1-or-later
"""What img-same.py has for the formats beside qcow2 and raw: images, command
lines, and what is meant to differ.  A case is (line, words, after)."""

LUKS = "--object secret,id=k,data=abc"
OPEN_LUKS = f"{LUKS} --image-opts driver=luks,key-secret=k,file.filename="
MAKE_LUKS = f"{LUKS} -f luks -o key-secret=k,iter-time="

# Name, format, options of create.
IMAGES = (
    ("old.qcow", "qcow", ""),
    ("disk.vdi", "vdi", ""),
    ("static.vdi", "vdi", "-o static=on"),
    ("disk.vmdk", "vmdk", ""),
    ("zeroed.vmdk", "vmdk", "-o zeroed_grain=on"),
    ("flat.vmdk", "vmdk", "-o subformat=monolithicFlat"),
    ("split.vmdk", "vmdk", "-o subformat=twoGbMaxExtentSparse"),
    ("sflat.vmdk", "vmdk", "-o subformat=twoGbMaxExtentFlat"),
    ("disk.vpc", "vpc", "-o force_size=on"),
    ("disk.vhdx", "vhdx", ""),
)
MORE = (("overlay.qcow", "qcow"), ("overlay.vmdk", "vmdk"),
        ("stream.vmdk", "vmdk"))
SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse",
              "twoGbMaxExtentFlat", "streamOptimized")

DIFFER = (
    (r"^(check|resize) .*\.qcow", "qemu-img has that for no qcow"),
    (r"^check .*luks", "qemu-img has that for no luks"),
    (r"^check (-r|.*stream).*\.(vdi|vmdk)", "qemu-img repairs none, and looks "
     "at less"),
    (r"^check .*\.(vdi|vmdk)", "ours looks at more, and says how much is used"),
    (r"^resize .*\.(vdi|vmdk)", "qemu-img has that for none of these"),
    (r"^measure -O (qcow|vdi|vmdk) ", "qemu-img has that for none of these"),
    (r"^rebase .*\.qcow", "qemu-img has that for no qcow"),
    (r"^bitmap .*(luks|\.(qcow|vdi|vmdk))", "ours names the file, not a node"),
    (r"^snapshot -[cad] .*(luks|\.(qcow|vdi|vmdk))",
     "ours names the file and the format, not a number"),
    (r"^map --output=json s?flat\.vmdk", "ours calls a hole a hole, as in a "
     "raw disk"),
    (r"^(map|measure -O qcow2) .*(vpc|vhdx)", "ours says where its bytes are, "
     "and where the file has holes"),
    (r"^check .*vhdx", "theirs looks at its log alone"),
    (r"^map disk\.luks", "ours needs no key for that"),
    (r"^info .*key-secret=none", "ours says that there is no such key"),
    (r"^measure .*luks.*5000001", "ours counts whole sectors"),
    (r"^info -f vmdk old.qcow|^info -f vmdk disk.vdi|^info -f vmdk disk.luks",
     "ours says what is wrong with the descriptor"),
    (r"^create -f (qcow|vdi) -o cluster_size", "ours can make others"),
    (r"^rebase -b none .*\.(vdi|vmdk)", "ours says first that it has none"),
    (r"^rebase -u .*\.vmdk", "ours opens it: a VMDK says what its base held"),
    (r"^create -f vmdk x.vmdk 0", "theirs is not read by themselves"),
    (r"^commit -d .*\.vmdk", "theirs is not read by themselves any more"),
    (r"^convert -l s ", "ours names no device"),
    (r"^create -f vdi x 2E", "ours has a smaller block map at most"),
    (r"^create -f qcow x.qcow 0", "theirs leaves an empty file behind"),
    (r"^convert -c -O qcow ", "qemu-img fails without a word"),
    (r"^convert -c -O vmdk ", "ours says it before anything is written"),
)


def make_images(img, io):
    for name, form, options in IMAGES:
        img(f"create -q -f {form} {options} {name} 4M")
        io(name, "write -P 5 0 300k", "write -z 1M 512k", "write -P 6 2M 100k")
    for name, form, base in (("overlay.qcow", "qcow", "old.qcow"),
                             ("overlay.vmdk", "vmdk", "disk.vmdk")):
        img(f"create -q -f {form} -b {base} -F {form} {name}")
        io(name, "write -P 7 256k 64k", "write -P 8 3M 1k")
    img("convert -f qcow2 -O vmdk -o subformat=streamOptimized base.qcow2 "
        "stream.vmdk")
    for ms in (50, 100, 200, 400, 800, 2000):
        try:  # it measures the processor, and gives up on a busy one
            return img(f"create -q {MAKE_LUKS}{ms} disk.luks 2M")
        except Exception:
            if ms == 2000:
                raise


def looks():
    for name, form in [i[:2] for i in IMAGES] + list(MORE):
        yield f"info {name}"
        yield f"info -f {form} --output=json {name}"
        yield f"info --backing-chain --output=json {name}"
        yield f"check {name}"
        yield f"map {name}"
        yield f"map --output=json {name}"
        yield f"measure -O qcow2 --output=json {name}"
        yield f"measure -O raw {name}"
        yield f"snapshot -l {name}"
        yield f"compare base.qcow2 {name}"
        yield f"compare -f {form} -F {form} {name} {name}"
        yield (f"info --output=json --image-opts driver={form},file.driver=file,"
               f"file.filename={name}")
        yield (f"info json:{{\\\"driver\\\":\\\"{form}\\\",\\\"file\\\":{{"
               f"\\\"driver\\\":\\\"file\\\",\\\"filename\\\":\\\"{name}\\\"}}}}")
    for verb in ("info", "info --output=json", "check", "map",
                 "map --output=json", "measure -O qcow2 --output=json",
                 "snapshot -l"):
        yield f"{verb} {OPEN_LUKS}disk.luks"
    for verb in ("info", "info --output=json", "map", "compare base.qcow2",
                 "measure -O raw"):
        yield f"{verb} disk.luks"  # without its key
    yield f"info {LUKS} --image-opts driver=luks,key-secret=none,file.filename=disk.luks"
    yield ("info --object secret,id=k,data=wrong --image-opts "
           "driver=luks,key-secret=k,file.filename=disk.luks")
    for size in ("0", "1M", "5000001"):
        yield f"measure {LUKS} -O luks -o key-secret=k,iter-time=50 --size {size}"


def mistakes():
    for name, form in (("old.qcow", "qcow"), ("disk.vdi", "vdi"),
                       ("flat.vmdk", "vmdk"), ("disk.vmdk", "vmdk")):
        for other in ("qcow", "qcow2", "vdi", "vmdk", "luks"):
            if other != form:
                yield f"info -f {other} {name}"
        yield f"amend -o compat=1.1 {name}"
        yield f"amend -o help -f {form} {name}"
        yield f"bitmap --add {name} b"
        yield f"check -r all {name}"
        yield f"commit {name}"
        yield f"rebase -u -b none -F raw {name}"
        yield f"rebase -b none -F raw {name}"
        yield f"resize {name} +1M"
        yield f"resize --preallocation=odd {name} +1M"
        yield f"snapshot -c s {name}"
        yield f"snapshot -a s {name}"
        yield f"measure -O {form} --size 1G"
        yield f"convert -l s -O raw {name} x"
        yield f"convert --bitmaps -O qcow2 {name} x"
        yield f"convert --bitmaps -O {form} bits.qcow2 x"
        yield f"convert -O {form} -o nonsense=1 base.qcow2 x"
        yield f"convert -n -O {form} base.qcow2 none"
        yield f"create -f {form} x"
        yield f"create -f {form} x 1Q"
        yield f"create -f {form} -o nonsense=1 x 1M"
        yield f"create -f {form} -o cluster_size=4k x 1M"
        yield f"create -f {form} -o size=1M x 1M"
        yield f"create -f {form} no/such/x 1M"
        yield f"create -f {form} folder 1M"
    for form in ("raw", "vdi", "luks"):
        yield f"create -f {form} -b base.qcow2 -F qcow2 x"
        yield f"convert -O {form} -B base.qcow2 -F qcow2 over.qcow2 x"
    for form in ("vdi", "luks", "raw"):
        yield f"convert -c -O {form} base.qcow2 x"
    yield "convert -c -O vmdk base.qcow2 x"
    yield "convert -O vdi -o static=maybe base.qcow2 x"
    yield "create -f vdi -o static=maybe x 1M"
    yield "create -f vdi x 2E"
    yield "create -f qcow -o encryption=on x 1M"
    yield "create -f qcow -o encrypt.format=luks x 1M"
    yield "create -f qcow -o encrypt.format=aes x 1M"
    yield "create -f qcow -o encrypt.format=aes,encrypt.key-secret=none x 1M"
    yield "create -f qcow -b none -F raw x"
    yield "create -f qcow x 0"
    yield "create -f vmdk -o subformat=odd x 1M"
    yield "create -f vmdk -o adapter_type=odd x 1M"
    yield "create -f vmdk -o compat6=maybe x 1M"
    yield "create -f vmdk -o compat6=on,hwversion=7 x 1M"
    yield "create -f vmdk -o zeroed_grain=maybe x 1M"
    yield "create -f vmdk -o zeroed_grain=on,subformat=monolithicFlat x 1M"
    yield "create -f vmdk -o subformat=monolithicFlat -b disk.vmdk -F vmdk x"
    yield "create -f vmdk -o subformat=streamOptimized -b disk.vmdk -F vmdk x"
    yield "create -f vmdk -b base.qcow2 -F qcow2 x"
    yield "create -f vmdk -b none -F vmdk x"
    yield "create -f vmdk -b disk.vmdk x"
    yield "create -f vmdk -b disk.vmdk -F raw x"
    yield "create -f luks x 1M"
    yield "create -f luks -o key-secret=none x 1M"
    for option in ("cipher-alg", "cipher-mode", "ivgen-alg", "ivgen-hash-alg",
                   "hash-alg", "iter-time"):
        yield f"create {LUKS} -f luks -o key-secret=k,{option}=odd x 1M"
    yield f"amend -o compat=1.1 {OPEN_LUKS}disk.luks"
    yield f"amend -o size=1M {OPEN_LUKS}disk.luks"
    yield f"amend -o state=odd {OPEN_LUKS}disk.luks"
    yield f"amend -o state=active {OPEN_LUKS}disk.luks"
    yield f"amend -o state=inactive,keyslot=9 {OPEN_LUKS}disk.luks"
    yield f"amend -o state=inactive,keyslot=0 {OPEN_LUKS}disk.luks"
    yield f"amend -o state=active,new-secret=none {OPEN_LUKS}disk.luks"
    yield f"rebase -u -b none -F raw {OPEN_LUKS}disk.luks"
    yield f"commit {OPEN_LUKS}disk.luks"
    yield f"snapshot -c s {OPEN_LUKS}disk.luks"


def deeds():
    """Line, and what is looked at afterwards."""
    def look(*names):
        return ([f"info --output=json {n}" for n in names] +
                [f"map --output=json {n}" for n in names])

    for form, name in (("qcow", "x.qcow"), ("vdi", "x.vdi"),
                       ("vmdk", "x.vmdk")):
        for size in ("10M", "1", "1000", "0", "3G"):
            yield f"create -f {form} {name} {size}", look(name)
        yield f"create -q -f {form} {name} 1M", look(name)
        yield f"create -f {form} -o size=3M {name}", look(name)
        yield f"create -f {form} -o preallocation=off {name} 3M", look(name)
        yield (f"convert -O {form} base.qcow2 {name}",
               [f"compare base.qcow2 {name}", f"info --output=json {name}"])
        yield (f"convert -O {form} base.qcow2 plain.raw {name}",
               [f"info --output=json {name}"])
        yield (f"convert -O {form} -l first snap.qcow2 {name}",
               [f"compare base.qcow2 {name}"])
        yield (f"dd -O {form} bs=64k count=5 if=base.qcow2 of={name}",
               look(name)[:1])
    yield "create -f vdi -o static=on x.vdi 3M", look("x.vdi")[:1]
    yield "create -f vdi -o static=off x.vdi 3M", look("x.vdi")
    yield "create -f qcow -b old.qcow -F qcow x.qcow", look("x.qcow")
    yield "create -f qcow -b base.qcow2 -F qcow2 x.qcow", look("x.qcow")
    yield "create -f qcow -b base.qcow2 -F qcow2 x.qcow 9M", look("x.qcow")
    yield "create -f vmdk -b disk.vmdk -F vmdk x.vmdk", look("x.vmdk")
    yield "create -f vmdk -b disk.vmdk -F vmdk x.vmdk 9M", look("x.vmdk")
    for subformat in SUBFORMATS:
        option = f"-o subformat={subformat}"
        # A flat extent's holes are data to them.
        seen = look("x.vmdk")[:1 if "Flat" in subformat else 2]
        yield f"create -f vmdk {option} x.vmdk 3M", seen
        yield f"create -f vmdk {option} x.vmdk 1000", seen
        yield (f"create -f vmdk {option},adapter_type=lsilogic,hwversion=13,"
               "toolsversion=99 x.vmdk 3G", look("x.vmdk")[:1])
        yield (f"convert -O vmdk {option} base.qcow2 x.vmdk",
               ["compare base.qcow2 x.vmdk", "info --output=json x.vmdk"])
    for adapter in ("ide", "buslogic", "lsilogic", "legacyESX"):
        yield f"create -f vmdk -o adapter_type={adapter} x.vmdk 3M", []
    yield "create -f vmdk -o compat6=on x.vmdk 3M", look("x.vmdk")
    yield "create -f vmdk -o zeroed_grain=on x.vmdk 3M", look("x.vmdk")
    for name, _, _ in IMAGES:
        yield (f"convert -O qcow2 {name} x.qcow2",
               [f"compare {name} x.qcow2", "info --output=json x.qcow2"])
        yield f"convert -O raw {name} x.raw", [f"compare {name} x.raw"]
        yield (f"convert -n -O raw {name} plain.raw",
               [f"compare {name} plain.raw"])
        yield f"dd -O raw bs=64k skip=1 count=9 if={name} of=x.raw", []
        yield f"bench -c 10 {name}", []
        if not name.endswith(("vpc", "vhdx")):
            yield f"bench -c 4 -w -s 64k {name}", look(name)[:1]
    yield "convert -O qcow2 stream.vmdk x.qcow2", ["compare stream.vmdk x.qcow2"]
    yield "convert -c -O qcow base.qcow2 x.qcow", ["compare base.qcow2 x.qcow"]
    yield "commit overlay.qcow", look("old.qcow")
    yield "commit -d overlay.vmdk", ["compare disk.vmdk overlay.vmdk"]
    yield (f"convert {OPEN_LUKS}disk.luks -O qcow2 x.qcow2".replace(
        "convert ", "convert -q "), ["info --output=json x.qcow2"])
    yield (f"resize {OPEN_LUKS}disk.luks +1M",
           [f"info --output=json {OPEN_LUKS}disk.luks"])
    yield f"resize --shrink {OPEN_LUKS}disk.luks 1M", []
