#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vprov-img and qemu-img side by side: the same exit status, the same words,
JSON with the same keys and types (and values), for each verb on a list of
images, and for the usual mistakes.

Each case runs twice, in two copies of one folder, once with each tool, under
the name "qemu-img" both times, so that not even the name differs.  Reports
TAP; img-same.sh looks for the tools.  VP_TEST_LONG=1: all images and cases,
else some of both.  usage: img-same.py OURS FOLDER [WORD]
(only cases whose command line contains WORD, with what differs in full)."""

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading

sys.dont_write_bytecode = True  # beside the sources
import same_formats

THEIRS = shutil.which("qemu-img")
IO = shutil.which("qemu-io")
LONG = os.environ.get("VP_TEST_LONG", "0") not in ("", "0")
ENV = dict(os.environ, LC_ALL="C", TZ="UTC")
SHORT_STEP = 9  # each ninth case in the short run
LIMIT = 20  # seconds; and memory, for they are no safe judges of odd images


# What is meant to differ: (a part of the command line, why).
DIFFER = (
    (r"^snapshot .*-f", "newer qemu-img has it too"),
    (r"^measure (--nonsense|-Z|-f$)", "they say what is wrong, and exit with 0"),
    (r"^(check|snapshot -l) .*orphan", "ours needs no backing file for that"),
    (r"^(check|snapshot -l) .*(luks|aes)", "ours needs no key for that"),
    (r"^bench .*--object", "newer qemu-img has it too"),
    (r"^snapshot -c x -q plain.raw", "ours says it without a number"),
    (r"^resize .*7E", "ours says which clusters are too small"),
    (r"^rebase -u -b none -f raw", "ours says first that raw has none"),
    (r"^bitmap .*plain.raw", "ours names the file, not a node"),
) + same_formats.DIFFER


def run(tool, line, folder):
    """Exit status, stdout, stderr."""
    done = subprocess.run([tool] + shlex.split(line), cwd=folder, env=ENV,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=LIMIT)
    return (done.returncode, done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"))


# ---- what may differ --------------------------------------------------------

def shape(value):
    """Keys and types, all the way down; rows of one kind are one."""
    if isinstance(value, dict):
        return {key: shape(value[key]) for key in value}
    if isinstance(value, list):
        kinds = []
        for item in value:
            if shape(item) not in kinds:
                kinds.append(shape(item))
        return kinds
    return type(value).__name__


def plain(text):
    """Figures that the file system, the clock and the layout decide."""
    text = re.sub(r"disk size: \S+ \S+", "disk size: N", text)
    text = re.sub(r"Run completed in \S+", "Run completed in N", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"Image end offset: \d+", "Image end offset: N", text)
    text = re.sub(r"(parent cid|cid|uuid): \S+", r"\1: N", text)
    # Ours alone says where a size was rounded up.
    text = re.sub(r"(?m)^.*: the disk has \d+ bytes, not \d+: .*\n", "", text)
    return re.sub(r"(Try '.*' for more information)", "Try", text).strip()


LOOSE = ("actual-size", "date-sec", "date-nsec", "image-end-offset", "cid",
         "uuid", "iters", "master-key-iters")


def loose(value):
    if isinstance(value, dict):
        return {k: 0 if k in LOOSE else loose(v) for k, v in value.items()}
    if isinstance(value, list):
        return [loose(item) for item in value]
    return value


def without_places(value):
    """A map of what was made: where it lies is each maker's choice."""
    if not isinstance(value, list) or not value or "start" not in value[0]:
        return value
    rows = []
    for row in value:
        row = {k: v for k, v in row.items() if k != "offset"}
        kind = {k: v for k, v in row.items() if k not in ("start", "length")}
        if rows and rows[-1][1] == kind:
            rows[-1][0] += row["length"]
        else:
            rows.append([row["length"], kind])
    return rows


def compare_json(case, theirs, ours):
    a, b = json.loads(theirs), json.loads(ours)
    if shape(a) != shape(b):
        return f"keys and types: {shape(a)}\nours: {shape(b)}"
    if case.layout_free:
        a, b = without_places(a), without_places(b)
    if loose(a) != loose(b):
        return f"values: {theirs}\nours: {ours}"
    return None


def compare(case, theirs, ours):
    """None, or what differs."""
    if theirs[0] != ours[0]:
        return f"status {theirs[0]}, ours {ours[0]}\n{theirs[2]}ours: {ours[2]}"
    if "--output=json" in case.line and theirs[1].lstrip()[:1] in ("{", "["):
        wrong = compare_json(case, theirs[1], ours[1])
        if wrong:
            return wrong
    elif theirs[0] == 0 and plain(theirs[1]) != plain(ours[1]):
        return f"{theirs[1]}ours:\n{ours[1]}"
    if case.words and plain(theirs[2]) != plain(ours[2]):
        return f"{theirs[2]}ours:\n{ours[2]}"
    return None


class Case:
    """One command line.  words: stderr too.  before: lines, of the same tool,
    that come first; after: lines of "map" and the like on what came of it."""

    def __init__(self, line, words=True, before=(), after=()):
        self.line, self.words = line, words
        self.before, self.after = before, after
        self.layout_free = False


# ---- images -----------------------------------------------------------------

def make_images(folder):
    """By them; in a folder of its own, which is then copied."""
    def img(line):
        subprocess.run([THEIRS] + shlex.split(line), cwd=folder, check=True,
                       env=ENV, capture_output=True, timeout=LIMIT)

    def io(name, *commands):
        words = [w for c in commands for w in ("-c", c)]
        subprocess.run([IO] + words + [name], cwd=folder, check=True, env=ENV,
                       capture_output=True, timeout=LIMIT)

    def make(name, options="", size="4M", writes=True):
        img(f"create -q -f qcow2 {options} {name} {size}")
        if writes:
            io(name, "write -P 5 0 300k", "write -z 1M 512k",
               "write -P 6 2M 100k", "discard 2M 64k")

    make("base.qcow2")
    img("create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 6M")
    io("over.qcow2", "write -P 7 256k 64k", "write -P 8 5M 1k")
    img("create -q -f qcow2 -b over.qcow2 -F qcow2 top.qcow2")
    img("convert -O raw base.qcow2 plain.raw")
    shutil.copy(folder + "/base.qcow2", folder + "/snap.qcow2")
    img("snapshot -c first snap.qcow2")
    img("snapshot -c 'second one' snap.qcow2")
    io("snap.qcow2", "write -P 1 0 100k")
    shutil.copy(folder + "/base.qcow2", folder + "/bits.qcow2")
    img("bitmap --add bits.qcow2 one")
    img("bitmap --add -g 128k --disable bits.qcow2 two")
    os.mkdir(folder + "/folder")
    if not LONG:
        return
    make("old.qcow2", "-o compat=0.10")
    make("small.qcow2", "-o cluster_size=512", "1M", False)
    io("small.qcow2", "write -P 1 100k 100k")
    make("large.qcow2", "-o cluster_size=2M,refcount_bits=64", "20M")
    make("lazy.qcow2", "-o lazy_refcounts=on,refcount_bits=1")
    make("ext.qcow2", "-o extended_l2=on,cluster_size=128k")
    io("ext.qcow2", "write -P 9 3M 6k")
    make("meta.qcow2", "-o preallocation=metadata")
    make("data.qcow2", "-o data_file=data.bin")
    make("rawdata.qcow2", "-o data_file=rawdata.bin,data_file_raw=on", "4M")
    img("create -q -f qcow2 -u -b missing.qcow2 -F qcow2 orphan.qcow2 1M")
    img("convert -c -O qcow2 base.qcow2 packed.qcow2")
    img("convert -c -O qcow2 -o compression_type=zstd base.qcow2 zstd.qcow2")
    img("create -q -f raw empty.raw 1M")
    same_formats.make_images(img, io)
    make_luks(img)
    img("create -q -f qcow2 --object secret,id=k,data=abc -o "
        "encrypt.format=aes,encrypt.key-secret=k aes.qcow2 1M")
    with open(folder + "/short.qcow2", "wb") as f:
        f.write(b"QFI\xfb\0\0\0\3" + bytes(592))
    damage(folder)


def make_luks(img):
    """It measures the processor, and gives up on a busy one."""
    for ms in (50, 100, 200, 400, 800, 2000):
        try:
            img("create -q -f qcow2 --object secret,id=k,data=abc -o "
                f"encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time={ms}"
                " luks.qcow2 2M")
            return
        except subprocess.CalledProcessError:
            if ms == 2000:
                raise


def poke(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def number(path, offset, length=8):
    with open(path, "rb") as f:
        f.seek(offset)
        return int.from_bytes(f.read(length), "big")


def damage(folder):
    """Copies with a leak, a lost refcount, marks in the header."""
    def copy(name, source="base.qcow2"):
        shutil.copy(f"{folder}/{source}", f"{folder}/{name}")
        return f"{folder}/{name}"

    def set_refcount(path, cluster, value):
        block = number(path, number(path, 48))
        poke(path, block + 2 * cluster, value.to_bytes(2, "big"))

    leak = copy("leak.qcow2")
    size = os.path.getsize(leak)
    os.truncate(leak, size + 131072)
    set_refcount(leak, size // 65536, 1)
    set_refcount(leak, size // 65536 + 1, 1)
    set_refcount(copy("lost.qcow2"), 5, 0)
    poke(copy("dirty.qcow2", "lazy.qcow2"), 79, b"\1")
    poke(copy("corrupt.qcow2"), 79, b"\2")
    # The COPIED flag of an L1 entry, and of an L2 entry.
    l1 = number(f"{folder}/base.qcow2", 40)
    l2 = number(f"{folder}/base.qcow2", l1) & 0x00fffffffffffe00
    first = next(at for at in range(l2, l2 + 65536, 8)
                 if number(f"{folder}/base.qcow2", at, 1) & 0x80)
    poke(copy("l1flag.qcow2"), l1, b"\0")
    poke(copy("l2flag.qcow2"), first, b"\0")
    poke(copy("unknown.qcow2"), 72, b"\x80")
    poke(copy("badsize.qcow2"), 24, b"\xff")
    poke(copy("badcluster.qcow2"), 20, (63).to_bytes(4, "big"))
    poke(copy("badversion.qcow2"), 4, (9).to_bytes(4, "big"))
    poke(copy("badl1.qcow2"), 40, (12345).to_bytes(8, "big"))
    poke(copy("shortl1.qcow2"), 36, (0).to_bytes(4, "big"))


GOOD = ("base old small large lazy ext meta data rawdata over top snap bits "
        "packed zstd leak lost dirty corrupt").split()
HARD = "unknown badsize badcluster badversion badl1 shortl1 short".split()


# ---- cases ------------------------------------------------------------------

def looks():
    """What each image looks like."""
    for name in [n + ".qcow2" for n in GOOD] + ["plain.raw", "luks.qcow2",
                                                "aes.qcow2", "orphan.qcow2"]:
        form = "-f raw " if name.endswith("raw") else ""
        yield Case(f"info {form}{name}")
        yield Case(f"info {form}--output=json {name}")
        yield Case(f"check {form}{name}", words=False)
        yield Case(f"check {form}--output=json {name}", words=False)
        if name[:4] not in ("luks", "aes.", "orph"):
            yield Case(f"map {form}{name}")
            yield Case(f"map {form}--output=json {name}")
        yield Case(f"measure -O qcow2 {form}--output=json {name}")
        yield Case(f"snapshot -l {form}{name}")
    for name in ("top", "base", "orphan"):
        yield Case(f"info --backing-chain {name}.qcow2")
        yield Case(f"info --backing-chain --output=json {name}.qcow2")
    yield Case("info --image-opts driver=qcow2,file.filename=base.qcow2")
    yield Case("info -U --output=json base.qcow2")
    yield Case("map --start-offset=1M --max-length=100k --output=json top.qcow2")
    yield Case("map --start-offset=9M --output=json top.qcow2")
    yield Case("map --max-length=1 top.qcow2")
    yield Case("measure --size 5G --output=json")
    yield Case("measure --size 5G -O qcow2")
    yield Case("measure -O qcow2 -o cluster_size=4k top.qcow2")
    yield Case("measure -O raw top.qcow2")


def mistakes():
    for name in HARD:
        yield Case(f"info {name}.qcow2")
        yield Case(f"check {name}.qcow2")
    for name in ("none", "folder", "no/such/file"):
        yield Case(f"info {name}")
        yield Case(f"check {name}")
        yield Case(f"map {name}")
        yield Case(f"resize {name} +1M")
        yield Case(f"convert -O raw {name} x.raw")
        yield Case(f"compare {name} base.qcow2")
        yield Case(f"compare base.qcow2 {name}")
        yield Case(f"snapshot -l {name}")
        yield Case(f"rebase -u -b '' {name}")
        yield Case(f"commit {name}")
        yield Case(f"measure {name}")
        yield Case(f"amend -o compat=1.1 {name}")
        yield Case(f"bitmap --add {name} b")
        yield Case(f"bench -c 1 {name}")
        yield Case(f"dd if={name} of=x.raw")
    for verb in ("info", "check", "map", "compare", "convert", "create",
                 "resize", "snapshot", "rebase", "commit", "measure", "amend",
                 "bitmap", "bench", "dd"):
        yield Case(f"{verb}")
        yield Case(f"{verb} --nonsense base.qcow2")
        yield Case(f"{verb} -Z base.qcow2")
        yield Case(f"{verb} -f")
        if verb not in ("convert", "create"):
            yield Case(f"{verb} base.qcow2 over.qcow2 top.qcow2 snap.qcow2")
    for verb in ("info", "check", "map", "snapshot -l", "commit", "bench -c 1",
                 "measure", "rebase -u -b ''"):
        yield Case(f"{verb} -f nonsense base.qcow2")
        yield Case(f"{verb} -f qcow2 plain.raw")
        yield Case(f"{verb} --image-opts driver=nonsense,filename=x")
        yield Case(f"{verb} --object nonsense,id=x base.qcow2")
        yield Case(f"{verb} --object secret base.qcow2")
    yield Case("info --image-opts base.qcow2")
    yield Case("info --output=xml base.qcow2")
    yield Case("map --output=xml base.qcow2")
    yield Case("map --start-offset=x base.qcow2")
    yield Case("map --max-length=x base.qcow2")
    yield Case("map orphan.qcow2")
    yield Case("map packed.qcow2")
    yield Case("check --output=xml base.qcow2")
    yield Case("check -r some base.qcow2")
    yield Case("check -T odd base.qcow2")
    yield Case("check -f raw plain.raw")
    yield Case("compare -T odd base.qcow2 base.qcow2")
    yield Case("compare -f raw base.qcow2 plain.raw")
    yield Case("compare orphan.qcow2 base.qcow2")
    yield Case("dance")
    yield Case("--dance")
    yield Case("")
    yield Case("resize base.qcow2")
    yield Case("resize base.qcow2 x")
    yield Case("resize base.qcow2 1Q")
    yield Case("resize base.qcow2 -- -9G")
    yield Case("resize base.qcow2 0")
    yield Case("resize base.qcow2 1M")
    yield Case("resize --preallocation=odd base.qcow2 +1M")
    yield Case("resize -f qcow2 base.qcow2 +7E")
    yield Case("convert base.qcow2")
    yield Case("convert -O nonsense base.qcow2 x")
    yield Case("convert -t odd base.qcow2 x")
    yield Case("convert -T odd base.qcow2 x")
    yield Case("convert -m 99 base.qcow2 x")
    yield Case("convert -m x base.qcow2 x")
    yield Case("convert -S x base.qcow2 x")
    yield Case("convert -S 100 base.qcow2 x")
    yield Case("convert -l nosuch -O raw snap.qcow2 x")
    yield Case("convert -n -O raw base.qcow2 none")
    yield Case("convert -n -O qcow2 base.qcow2 small.qcow2")
    yield Case("convert --target-is-zero -O raw base.qcow2 x")
    yield Case("convert -c -O raw base.qcow2 x")
    yield Case("convert -O raw orphan.qcow2 x")
    yield Case("convert -O qcow2 -B base.qcow2 over.qcow2 x")
    yield Case("convert -O raw base.qcow2 no/such/x")
    yield Case("convert -O qcow2 -o nonsense=1 base.qcow2 x")
    yield Case("convert -r x -O raw base.qcow2 x")
    yield Case("convert -n -o compat=1.1 -O qcow2 base.qcow2 top.qcow2")
    yield Case("create -f nonsense x 1M")
    yield Case("create -f qcow2 x")
    yield Case("create -f qcow2 x 1Q")
    yield Case("create -f qcow2 x -- -1")
    yield Case("create -f qcow2 x 1M y")
    yield Case("create -f qcow2 -o nonsense=1 x 1M")
    yield Case("create -f qcow2 -o cluster_size=3 x 1M")
    yield Case("create -f qcow2 -o cluster_size=4M x 1M")
    yield Case("create -f qcow2 -o refcount_bits=5 x 1M")
    yield Case("create -f qcow2 -o compat=7 x 1M")
    yield Case("create -f qcow2 -o compat=0.10,lazy_refcounts=on x 1M")
    yield Case("create -f qcow2 -o preallocation=odd x 1M")
    yield Case("create -f qcow2 -o lazy_refcounts=maybe x 1M")
    yield Case("create -f qcow2 -o compression_type=odd x 1M")
    yield Case("create -f qcow2 -o encrypt.format=odd x 1M")
    yield Case("create -f qcow2 -o encrypt.format=luks x 1M")
    yield Case("create -f qcow2 -o size=1M x 1M")
    yield Case("create -f qcow2 -b base.qcow2 x")
    yield Case("create -f qcow2 -b none -F qcow2 x")
    yield Case("create -f qcow2 -b base.qcow2 -F odd x")
    yield Case("create -f qcow2 -F qcow2 x 1M")
    yield Case("create -f raw -b base.qcow2 -F qcow2 x")
    yield Case("create -f raw no/such/x 1M")
    yield Case("create -f qcow2 folder 1M")
    yield Case("snapshot -a nosuch snap.qcow2")
    yield Case("snapshot -d nosuch snap.qcow2")
    yield Case("snapshot -c x -d y snap.qcow2")
    yield Case("snapshot -l plain.raw")
    yield Case("snapshot -c x -q plain.raw")
    yield Case("rebase top.qcow2")
    yield Case("rebase -b none -F qcow2 top.qcow2")
    yield Case("rebase -b base.qcow2 -F odd top.qcow2")
    yield Case("rebase -u -b none -f raw plain.raw")
    yield Case("commit base.qcow2")
    yield Case("commit -b none top.qcow2")
    yield Case("commit -t odd top.qcow2")
    yield Case("commit -r x top.qcow2")
    yield Case("measure")
    yield Case("measure --size x")
    yield Case("measure -O nonsense --size 1G")
    yield Case("measure --size 1G base.qcow2")
    yield Case("measure --output=xml --size 1G")
    yield Case("amend base.qcow2")
    yield Case("amend -o nonsense=1 base.qcow2")
    yield Case("amend -o cluster_size=4k base.qcow2")
    yield Case("amend -f raw -o size=1 plain.raw")
    yield Case("bitmap base.qcow2 b")
    yield Case("bitmap --add bits.qcow2 one")
    yield Case("bitmap --remove base.qcow2 nosuch")
    yield Case("bitmap --merge nosuch bits.qcow2 one")
    yield Case("bitmap --add -g 3 base.qcow2 b")
    yield Case("bitmap --add --disable -f raw plain.raw b")
    yield Case("bench -d x base.qcow2")
    yield Case("bench -c x base.qcow2")
    yield Case("bench -S x base.qcow2")
    yield Case("bench --pattern=999 base.qcow2")
    yield Case("bench --flush-interval=9 base.qcow2")
    yield Case("bench -i odd base.qcow2")
    yield Case("bench -t odd base.qcow2")
    yield Case("bench -n base.qcow2")
    yield Case("dd if=base.qcow2")
    yield Case("dd of=x")
    yield Case("dd bs=0 if=base.qcow2 of=x")
    yield Case("dd nonsense=1 if=base.qcow2 of=x")
    yield Case("dd nonsense")


def deeds():
    """What changes images; looked at afterwards."""
    look = lambda *names: [f"map --output=json {n}" for n in names] + [
        f"info --output=json {n}" for n in names] + [
        f"check --output=json {n}" for n in names]
    yield Case("create -f qcow2 x.qcow2 10M", after=look("x.qcow2"))
    yield Case("create -f qcow2 -o compat=0.10 x.qcow2 10M",
               after=look("x.qcow2"))
    yield Case("create -f qcow2 -o preallocation=metadata,cluster_size=4k "
               "x.qcow2 3M", after=look("x.qcow2"))
    yield Case("create -f qcow2 -o preallocation=full x.qcow2 3M",
               after=look("x.qcow2"))
    yield Case("create -f qcow2 -o extended_l2=on x.qcow2 3M",
               after=look("x.qcow2"))
    yield Case("create -f qcow2 -o data_file=x.bin x.qcow2 3M",
               after=look("x.qcow2"))
    yield Case("create -f qcow2 -b base.qcow2 -F qcow2 x.qcow2",
               after=look("x.qcow2"))
    yield Case("create -f raw -o preallocation=falloc x.raw 1M")
    yield Case("create -f raw x.raw 1000")
    yield Case("create -f qcow2 x.qcow2 1000", after=look("x.qcow2"))
    yield Case("create -q -f qcow2 x.qcow2 1G")
    yield Case("resize base.qcow2 +1M", after=look("base.qcow2"))
    yield Case("resize --shrink base.qcow2 2M", after=look("base.qcow2"))
    yield Case("resize --preallocation=metadata base.qcow2 +1M",
               after=look("base.qcow2")[:2])
    yield Case("resize -f raw plain.raw +1M")
    for name in ("l1flag", "l2flag"):
        yield Case(f"check {name}.qcow2")
        yield Case(f"check -r leaks {name}.qcow2")
        yield Case(f"check -r all {name}.qcow2", after=[f"check {name}.qcow2"])
    yield Case("resize plain.raw +1M")
    yield Case("resize --image-opts file.filename=plain.raw +1M")
    yield Case("resize --image-opts driver=raw,file.filename=plain.raw +1M")
    yield Case("bench -c 1 -w plain.raw")
    yield Case("resize -q -f raw plain.raw 1M")
    yield Case("resize --shrink -f raw plain.raw 1M")
    yield Case("check -r leaks leak.qcow2", words=False)
    yield Case("check -r all lost.qcow2", words=False)
    yield Case("check -r all --output=json lost.qcow2", words=False)
    yield Case("check -r leaks --output=json leak.qcow2", words=False)
    yield Case("check -q -r all leak.qcow2", words=False)
    yield Case("check -r all dirty.qcow2", words=False,
               after=look("dirty.qcow2"))
    yield Case("compare base.qcow2 plain.raw")
    yield Case("compare base.qcow2 over.qcow2")
    yield Case("compare -s base.qcow2 packed.qcow2")
    yield Case("compare -s base.qcow2 top.qcow2")
    yield Case("compare -s base.qcow2 old.qcow2")
    yield Case("compare -q base.qcow2 over.qcow2")
    yield Case("compare empty.raw base.qcow2")
    yield Case("compare -f qcow2 -F raw base.qcow2 plain.raw")
    yield Case("convert -O qcow2 top.qcow2 x.qcow2", after=look("x.qcow2"))
    yield Case("convert -O raw top.qcow2 x.raw", after=["map --output=json "
                                                        "-f raw x.raw"])
    yield Case("convert -O qcow2 -l first snap.qcow2 x.qcow2",
               after=["compare base.qcow2 x.qcow2"])
    yield Case("convert -O qcow2 base.qcow2 plain.raw x.qcow2",
               after=["info --output=json x.qcow2"])
    yield Case("convert -O qcow2 -B base.qcow2 -F qcow2 over.qcow2 x.qcow2",
               after=["compare over.qcow2 x.qcow2",
                      "info --output=json x.qcow2"])
    yield Case("convert --bitmaps -O qcow2 bits.qcow2 x.qcow2",
               after=["info --output=json x.qcow2"])
    yield Case("convert -c -O qcow2 base.qcow2 x.qcow2",
               after=["compare base.qcow2 x.qcow2"])
    yield Case("convert -n -O qcow2 base.qcow2 large.qcow2",
               after=["compare base.qcow2 large.qcow2"])
    yield Case("convert -n -O raw base.qcow2 plain.raw",
               after=["compare base.qcow2 plain.raw"])
    yield Case("snapshot -c x base.qcow2", after=look("base.qcow2") +
               ["snapshot -l base.qcow2"])
    yield Case("snapshot -a first snap.qcow2", after=look("snap.qcow2"))
    yield Case("snapshot -d first snap.qcow2", after=look("snap.qcow2"))
    yield Case("rebase -u -b base.qcow2 -F qcow2 top.qcow2",
               after=look("top.qcow2"))
    yield Case("rebase -b base.qcow2 -F qcow2 top.qcow2",
               after=look("top.qcow2"))
    yield Case("rebase -b '' top.qcow2", after=look("top.qcow2"))
    yield Case("rebase -u -b '' top.qcow2", after=look("top.qcow2"))
    yield Case("commit over.qcow2", after=look("base.qcow2", "over.qcow2"))
    yield Case("commit -d over.qcow2", after=look("base.qcow2", "over.qcow2"))
    yield Case("commit -b base.qcow2 top.qcow2", after=look("base.qcow2"))
    yield Case("amend -o compat=0.10 base.qcow2", after=look("base.qcow2"))
    yield Case("amend -o compat=1.1 old.qcow2", after=look("old.qcow2"))
    yield Case("amend -o lazy_refcounts=on base.qcow2",
               after=look("base.qcow2"))
    yield Case("amend -o refcount_bits=64 base.qcow2",
               after=["info --output=json base.qcow2"])
    yield Case("bitmap --add base.qcow2 b", after=look("base.qcow2"))
    yield Case("bitmap --remove bits.qcow2 two", after=look("bits.qcow2"))
    yield Case("bitmap --disable bits.qcow2 one", after=look("bits.qcow2"))
    yield Case("bitmap --clear --enable bits.qcow2 two",
               after=look("bits.qcow2"))
    yield Case("bitmap --merge two bits.qcow2 one", after=look("bits.qcow2"))
    yield Case("dd -O raw bs=64k count=3 skip=1 if=base.qcow2 of=x.raw",
               after=["info -f raw --output=json x.raw"])
    yield Case("dd -f qcow2 -O qcow2 if=base.qcow2 of=x.qcow2",
               after=["compare base.qcow2 x.qcow2"])
    yield Case("bench -c 10 base.qcow2")
    yield Case("bench -c 4 -w -s 64k -d 2 --flush-interval=2 -f raw plain.raw")


# ---- running them -----------------------------------------------------------

def side(tool, case, images, folder):
    """One tool's part of a case, in its own copy of the images."""
    shutil.copytree(images, folder, copy_function=clone)
    results = []
    for line in list(case.before) + [case.line] + list(case.after):
        results.append((line, run(tool, line, folder)))
    shutil.rmtree(folder)
    return results


def clone(source, target):
    """shutil's copies fill holes."""
    size = os.path.getsize(source)
    with open(source, "rb") as a, open(target, "wb") as b:
        at = 0
        while at < size:
            try:
                at = os.lseek(a.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(a.fileno(), at, os.SEEK_HOLE)
            a.seek(at)
            b.seek(at)
            b.write(a.read(end - at))
            at = end
        b.truncate(size)


def own_folder(top):
    """A thread's own copy: locks of two threads must not meet."""
    folder = f"{top}/{threading.get_ident()}"
    if not os.path.isdir(folder):
        shutil.copytree(top + "/images", folder, copy_function=clone)
    return folder


def run_case(number, case, ours, top, shared):
    """None, or the line and what differs."""
    if shared:  # nothing is changed: both look at one folder
        folder = own_folder(top)
        pairs = [((case.line, run(THEIRS, case.line, folder)),
                  (case.line, run(ours, case.line, folder)))]
    else:
        a = side(THEIRS, case, top + "/images", f"{top}/{number}a/w")
        b = side(ours, case, top + "/images", f"{top}/{number}b/w")
        pairs = zip(a, b)
    for pattern, why in DIFFER:
        if re.search(pattern, case.line):
            return "skip", "means to differ: " + why
    for (line, theirs), (_, our) in pairs:
        part = Case(line, case.words if line == case.line else False)
        part.layout_free = line != case.line
        wrong = compare(part, theirs, our)
        if wrong and "is not supported yet" in our[2]:
            return "skip", our[2]
        if wrong:
            return line if line != case.line else "", wrong
    return None


def has_images(case, folder):
    """In the short run not all images are made."""
    rare = set(GOOD + HARD + ["luks", "aes", "orphan", "empty"]) - {"base"}
    if re.search(r"[a-z]\.(luks|qcow|vdi|vhdx|vmdk|vpc)\b", case.line):
        return False
    words = re.findall(r"([a-z0-9]+)\.(?:qcow2|raw)", case.line)
    return all(os.path.exists(f"{folder}/{word}.qcow2")
               for word in words if word in rare)


def main():
    ours, top = sys.argv[1], os.path.abspath(sys.argv[2])
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.mkdir(top + "/images")
    make_images(top + "/images")
    os.mkdir(top + "/bin")
    os.symlink(os.path.abspath(ours), top + "/bin/qemu-img")
    ours = top + "/bin/qemu-img"

    cases = [(c, True) for c in looks()] + [(c, True) for c in mistakes()]
    cases += [(c, False) for c in deeds()]
    cases += [(Case(line), True) for line in same_formats.looks()]
    cases += [(Case(line), True) for line in same_formats.mistakes()]
    cases += [(Case(line, after=after), False)
              for line, after in same_formats.deeds()]
    cases = [(c, s) for c, s in cases if only in c.line]
    if not LONG:
        there = [c for c in cases if has_images(c[0], top + "/images")]
        cases = there[::SHORT_STEP]
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    jobs = [pool.submit(run_case, i, c, ours, top, s)
            for i, (c, s) in enumerate(cases)]
    bad = 0
    for i, ((case, _), job) in enumerate(zip(cases, jobs), 1):
        try:
            wrong = job.result()
        except Exception as e:
            wrong = "", repr(e)
        if wrong and wrong[0] == "skip":
            print(f"ok {i} - {case.line} # SKIP {wrong[1].strip()}")
            continue
        print(f"{'not ok' if wrong else 'ok'} {i} - {case.line}")
        if wrong:
            bad += 1
            where, what = wrong
            if where:
                print(f"# then {where}")
            for line in what.rstrip("\n").split("\n"):
                print("# " + line[:2000])
    print(f"1..{len(cases)}")
    return 1 if bad else 0


sys.exit(main())
