#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every option of qemu-img, as its own help lists them, stands in ours, is
# understood, and has a line in the manual that says what becomes of it: no
# option is ignored in silence.
set -u
img=$(cd "${VP_BUILDDIR:-.}" && pwd)/vprov-img
man=$(cd "${VP_SRCDIR:-.}" && pwd)/man/vprov-img.1
if ! command -v qemu-img > /dev/null; then
  echo "1..0 # SKIP qemu-img is not there to be asked"
  exit 77
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/vprov-options-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99
n=0

ok () {
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    sed 's/^/# /' why 2> /dev/null
  fi
}

# The manual's rows: verb, option, what becomes of it.
sed -n '/^\.\\" table: options/,/^\.\\" end of table/p' "$man" |
  sed -e 's/\\-/-/g' -e '/^\./d' > rows

# row VERB OPTION
row () {
  awk -v v="$1" -v o="$2" '$1 == v && $2 == o && NF > 2 { found = 1 }
    END { exit !found }' rows
}

qemu-img --help > help
sed -n '/^Command syntax/,/^Command parameters/p' help | grep '^  [a-z]' > syntax
cut -c3- syntax | cut -d' ' -f1 > verbs
while read -r verb; do
  grep "^  $verb " syntax | cut -d' ' -f4- |
    grep -oE -e '(^|[^A-Za-z0-9_-])--?[A-Za-z][a-z-]*' |
    grep -oE -e '--?[A-Za-z][a-z-]*' | sort -u > options
  [ "$verb" != dd ] || printf '%s\n' bs= count= skip= if= of= >> options
  "$img" "$verb" --help > ours 2>&1
  while read -r option; do
    : > why
    # In the help: as an option's own line, or in the synopsis.
    case $option in
      *=) grep -qF -e "$option" ours ;;
      *) grep -qE -e "(^|[^A-Za-z0-9-])$option([^A-Za-z0-9-]|$)" ours ;;
    esac ||
      echo "not in $verb --help" >> why
    row "$verb" "$option" || echo "not in the manual's table" >> why
    "$img" "$verb" "$option" < /dev/null > said 2>&1
    grep -E 'unrecognized|unknown option|not supported yet' said >> why
    [ ! -s why ]; ok $? "$verb $option"
  done < options
done < verbs

# What -o takes.
for format in qcow2 raw qcow vdi vmdk luks; do
  qemu-img create -f $format -o help x | sed -n 's/^ *\([a-z_.0-9-]*\)=.*/\1/p' |
    sort -u > options
  "$img" create -f $format -o help x > ours 2> why
  while read -r option; do
    : > why
    grep -qF -e "$option" ours || echo "not in -o help" >> why
    row "$format" "$option" || echo "not in the manual's table" >> why
    [ ! -s why ]; ok $? "-f $format -o $option"
  done < options
done
echo "1..$n"
