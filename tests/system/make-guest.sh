#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make-guest.sh FOLDER [TITLE]
#
# Makes a small Linux guest from what a distribution ships: a kernel, a few of
# its modules, busybox, and a disk.  Used by the demo and by the tests.
#
#   FOLDER/vmlinuz     the kernel
#   FOLDER/initrd      loads virtio, mounts the disk, asks for an address by
#                      DHCP, serves the disk's www folder over HTTP
#   FOLDER/disk.raw    ext4, read-only unless the command line has vp.rw
#   FOLDER/boot.raw    a boot sector that prints on the serial port and halts:
#                      needs no kernel, and runs where a kernel cannot
#
# The kernel comes from /boot, or from VP_GUEST_ROOT (a folder into which a
# kernel package was unpacked).  Nothing outside of FOLDER is written.
set -eu -o pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/system/boot-sector.sh
. "$here/boot-sector.sh"

out=${1:?usage: make-guest.sh FOLDER [TITLE]}
title=${2:-vprovd works}
root=${VP_GUEST_ROOT:-}

# Newest kernel whose modules lie beside it; a cloud kernel before others,
# since it has all we need and boots fastest.
find_kernel ()
{
  local kernel version found=
  while read -r kernel; do
    version=${kernel##*/vmlinuz-}
    [ -d "$root/lib/modules/$version" ] ||
      [ -d "$root/usr/lib/modules/$version" ] || continue
    case $version in
      *-cloud-*) echo "$kernel"; return 0 ;;
    esac
    found=${found:-$kernel}
  done < <(find "$root/boot" -maxdepth 1 -name 'vmlinuz-*' -type f -readable |
             sort -rV)
  [ -n "$found" ] && echo "$found"
}

# The files of the modules named, each after those that it needs.
module_files ()
{
  awk -F: '
    function visit(file, i, n, need) {
      if (file in seen) return
      seen[file] = 1
      n = split(deps[file], need, " ")
      for (i = n; i > 0; i--) visit(need[i])
      print file
    }
    FNR == NR {
      deps[$1] = $2
      name = $1; sub(/.*\//, "", name); sub(/\.ko.*/, "", name)
      gsub(/-/, "_", name); path[name] = $1
      next
    }
    ($1 in path) { visit(path[$1]) }' "$1" - <<EOM
virtio_pci
virtio_blk
virtio_net
virtio_rng
af_packet
ext4
button
evdev
EOM
}

make_initrd ()
{
  local version=$1 modules=$2 tree=$out/initrd.tree file name
  rm -rf "$tree"
  mkdir -p "$tree"/{bin,dev,etc/acpi/PWRF,lib,mnt,proc,sys,tmp}
  cp "$busybox" "$tree/bin/busybox"
  [ -e "$modules/modules.dep" ] ||
    depmod -b "${modules%/lib/modules/*}" "$version"
  while read -r file; do
    name=${file##*/}
    case $name in
      *.xz) xz -dc "$modules/$file" > "$tree/lib/${name%.xz}" ;;
      *.zst) zstd -qdc "$modules/$file" > "$tree/lib/${name%.zst}" ;;
      *.gz) gzip -dc "$modules/$file" > "$tree/lib/${name%.gz}" ;;
      *) cp "$modules/$file" "$tree/lib/$name" ;;
    esac
    echo "/lib/${name%.ko*}.ko" >> "$tree/lib/order"
  done < <(module_files "$modules/modules.dep")
  touch "$tree/lib/order"

  cat > "$tree/init" <<'EOM'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec < /dev/console > /dev/console 2>&1
while read -r module; do insmod "$module"; done < /lib/order
options=ro
grep -q 'vp\.rw' /proc/cmdline && options=rw,sync
mount -t ext4 -o $options /dev/vda /mnt || echo "no disk"
acpid -d -c /etc/acpi > /dev/null 2>&1 &
ip link set lo up
for link in /sys/class/net/*; do
  [ "${link##*/}" = lo ] && continue
  ip link set "${link##*/}" up
  udhcpc -i "${link##*/}" -s /etc/udhcpc -t 20 -T 1 -A 1 -S -n &&
    echo "GUEST ADDRESS ${link##*/}"
done
echo "GUEST READY"
exec httpd -f -v -p 80 -h /mnt/www
EOM
  cat > "$tree/etc/udhcpc" <<'EOM'
#!/bin/busybox sh
# Called by udhcpc with the lease in the environment.
case $1 in
  bound|renew)
    ip address flush dev "$interface"
    ip address add "$ip/$mask" dev "$interface"
    [ -n "$router" ] && ip route replace default via "${router%% *}"
    : > /etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >> /etc/resolv.conf; done
    ;;
esac
exit 0
EOM
  printf '#!/bin/busybox sh\nsync\nexec poweroff -f\n' > "$tree/etc/acpi/PWRF/00000080"
  chmod 755 "$tree/init" "$tree/etc/udhcpc" "$tree/etc/acpi/PWRF/00000080"
  (cd "$tree" && find . | LC_ALL=C sort |
     "$busybox" cpio -o -H newc 2> /dev/null) > "$out/initrd"
  rm -rf "$tree"
}

make_disk ()
{
  local tree=$out/disk.tree
  rm -rf "$tree" "$out/disk.raw"
  mkdir -p "$tree/www/cgi-bin"
  cat > "$tree/www/index.html" <<EOM
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>$title</title></head>
<body>
<h1>$title</h1>
<p>This page lies on a disk image that vprov-img wrote. A guest that vprovd
made from one XML file serves it through a forwarded port.</p>
</body>
</html>
EOM
  # What tests ask the guest to do, each as one request.
  cat > "$tree/www/cgi-bin/poweroff" <<'EOM'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\nbye\n'
(sleep 1; sync; poweroff -f) > /dev/null 2>&1 &
EOM
  cat > "$tree/www/cgi-bin/note" <<'EOM'
#!/bin/sh
# With a query: keeps it on the disk.  Always: says what is kept.
[ -n "$QUERY_STRING" ] && echo "$QUERY_STRING" > /mnt/note && sync
printf 'Content-Type: text/plain\r\n\r\n'
cat /mnt/note 2> /dev/null
EOM
  cat > "$tree/www/cgi-bin/client" <<'EOM'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n%s\n' "$REMOTE_ADDR"
EOM
  cat > "$tree/www/cgi-bin/disks" <<'EOM'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
grep ' vd.$' /proc/partitions
EOM
  chmod 755 "$tree"/www/cgi-bin/*
  # No journal: a guest that is killed leaves nothing to replay.
  PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -O ^has_journal -m 0 \
    -E root_owner=0:0 -d "$tree" "$out/disk.raw" 16M > /dev/null
  rm -rf "$tree"
}

if ! busybox=$(command -v busybox); then
  echo "make-guest: busybox is missing (Debian: busybox-static)" >&2
  exit 1
fi
if ! kernel=$(find_kernel); then
  echo "make-guest: no kernel with modules under $root/boot" >&2
  exit 1
fi
version=${kernel##*/vmlinuz-}
modules=$root/lib/modules/$version
[ -d "$modules" ] || modules=$root/usr/lib/modules/$version

mkdir -p "$out"
cp "$kernel" "$out/vmlinuz"
chmod 644 "$out/vmlinuz"
make_initrd "$version" "$modules"
make_disk
boot_sector "VPROVD BOOT SECTOR" > "$out/boot.raw"
truncate -s 1M "$out/boot.raw"
