/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* cow-reader: cow images by another hand, as no other program reads them any
 * more: written from the layout in words and not from the driver, in plain C,
 * byte by byte.  It believes what it is given.
 *
 * header: 1056 (x86-64) or 1048 (i386) bytes long. */
#pragma once

#include <stddef.h>

/* Makes an image of disk (whole sectors of 512 bytes) in file; sectors whose
 * byte in here is 0 are left out.  The length of the file, which ends with the
 * last sector that is there, or with the bitmap; 0: it would pass limit. */
size_t cow_reader_make (unsigned char *file, size_t limit, int header,
                        const char *backing, const unsigned char *disk,
                        size_t disk_len, const unsigned char *here);

/* The guest's bytes; those that are not in the image are left as they are in
 * disk.  0: this is no such image. */
int cow_reader_read (const unsigned char *file, size_t file_len, int header,
                     unsigned char *disk, size_t disk_len);
/* Whether the image has that sector itself. */
int cow_reader_has (const unsigned char *file, int header, size_t sector);
/* Points into file. */
const char *cow_reader_backing (const unsigned char *file);
