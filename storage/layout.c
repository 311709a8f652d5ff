/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* layout: numbers between a buffer and a struct, as a field table says. */
#include "config.h"

#include "storage/layout.h"

#include <string.h>

static uint64_t
get_disk (const VpField *field, const uint8_t *p)
{
  uint64_t value = 0;
  for (unsigned i = 0; i < field->width; i++) {
    unsigned at = field->order == VP_FIELD_BIG ? i : field->width - 1u - i;
    value = value << 8 | p[at];
  }
  return value;
}

static void
set_disk (const VpField *field, uint8_t *p, uint64_t value)
{
  for (unsigned i = 0; i < field->width; i++) {
    unsigned at = field->order == VP_FIELD_BIG ? field->width - 1u - i : i;
    p[at] = (uint8_t) value;
    value >>= 8;
  }
}

static void
set_member (const VpField *field, void *record, uint64_t value)
{
  uint8_t *to = (uint8_t *) record + field->member;
  switch (field->width) {
  case 1: *to = (uint8_t) value; break;
  case 2: memcpy (to, &(uint16_t){ (uint16_t) value }, 2); break;
  case 4: memcpy (to, &(uint32_t){ (uint32_t) value }, 4); break;
  case 8: memcpy (to, &value, 8); break;
  default: g_return_if_reached ();
  }
}

uint64_t
vp_layout_get (const VpField *field, const void *record)
{
  const uint8_t *from = (const uint8_t *) record + field->member;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;
  switch (field->width) {
  case 1: return *from;
  case 2: memcpy (&u16, from, 2); return u16;
  case 4: memcpy (&u32, from, 4); return u32;
  case 8: memcpy (&u64, from, 8); return u64;
  default: g_return_val_if_reached (0);
  }
}

void
vp_layout_load (const VpLayout *layout, const uint8_t *buffer, size_t len,
                void *record)
{
  for (size_t i = 0; i < layout->n_fields; i++) {
    const VpField *field = &layout->fields[i];
    uint64_t value = 0;
    if (vp_range_ok (field->offset, field->width, len))
      value = get_disk (field, buffer + field->offset);
    set_member (field, record, value);
  }
}

void
vp_layout_store (const VpLayout *layout, const void *record, uint8_t *buffer,
                 size_t len)
{
  for (size_t i = 0; i < layout->n_fields; i++) {
    const VpField *field = &layout->fields[i];
    if (vp_range_ok (field->offset, field->width, len))
      set_disk (field, buffer + field->offset, vp_layout_get (field, record));
  }
}
