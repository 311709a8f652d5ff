# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# boot_sector TEXT: writes a boot sector to stdout that prints TEXT on the first
# two serial ports and halts.  16-bit code: it runs under any KVM and under
# TCG within a second, where a kernel needs many.
#
#   00  fc         cld
#   01  31 c0      xor ax, ax
#   03  8e d8      mov ds, ax
#   05  be 1a 7c   mov si, 0x7c1a     ; text
#   08  ac         lodsb
#   09  84 c0      test al, al
#   0b  74 0a      jz 0x17
#   0d  ba f8 03   mov dx, 0x3f8      ; COM1
#   10  ee         out dx, al
#   11  ba f8 02   mov dx, 0x2f8      ; COM2
#   14  ee         out dx, al
#   15  eb f1      jmp 0x08
#   17  f4         hlt
#   18  eb fd      jmp 0x17
#   1a  text, zeros up to 1fe, then 55 aa
boot_sector ()
{
  local text=$1
  printf '\xfc\x31\xc0\x8e\xd8\xbe\x1a\x7c\xac\x84\xc0\x74\x0a\xba\xf8\x03\xee'
  printf '\xba\xf8\x02\xee\xeb\xf1\xf4\xeb\xfd%s\r\n' "$text"
  head -c $((510 - 26 - ${#text} - 2)) /dev/zero
  printf '\x55\xaa'
}
