# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# boot_sector TEXT: writes a boot sector to stdout that prints TEXT on the
# first serial port and halts.  16-bit code: it runs under any KVM and under
# TCG within a second, where a kernel needs many.
#
#   00  fc         cld
#   01  31 c0      xor ax, ax
#   03  8e d8      mov ds, ax
#   05  be 16 7c   mov si, 0x7c16     ; text
#   08  ba f8 03   mov dx, 0x3f8      ; COM1
#   0b  ac         lodsb
#   0c  84 c0      test al, al
#   0e  74 03      jz 0x13
#   10  ee         out dx, al
#   11  eb f8      jmp 0x0b
#   13  f4         hlt
#   14  eb fd      jmp 0x13
#   16  text, zeros up to 1fe, then 55 aa
boot_sector ()
{
  local text=$1
  printf '\xfc\x31\xc0\x8e\xd8\xbe\x16\x7c\xba\xf8\x03\xac\x84\xc0'
  printf '\x74\x03\xee\xeb\xf8\xf4\xeb\xfd%s\r\n' "$text"
  head -c $((510 - 22 - ${#text} - 2)) /dev/zero
  printf '\x55\xaa'
}
