/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* layout: on-disk structures as tables of fields, and the byte order helpers
 * that everything below uses.  A table is held line by line against the
 * specification; it loads, stores and prints.  Nobody casts a buffer to a
 * struct. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

static inline uint16_t
vp_be16_get (const uint8_t *p)
{
  return (uint16_t) (p[0] << 8 | p[1]);
}
static inline uint32_t
vp_be32_get (const uint8_t *p)
{
  return (uint32_t) vp_be16_get (p) << 16 | vp_be16_get (p + 2);
}
static inline uint64_t
vp_be64_get (const uint8_t *p)
{
  return (uint64_t) vp_be32_get (p) << 32 | vp_be32_get (p + 4);
}
static inline void
vp_be16_set (uint8_t *p, uint16_t value)
{
  p[0] = (uint8_t) (value >> 8);
  p[1] = (uint8_t) value;
}
static inline void
vp_be32_set (uint8_t *p, uint32_t value)
{
  vp_be16_set (p, (uint16_t) (value >> 16));
  vp_be16_set (p + 2, (uint16_t) value);
}
static inline void
vp_be64_set (uint8_t *p, uint64_t value)
{
  vp_be32_set (p, (uint32_t) (value >> 32));
  vp_be32_set (p + 4, (uint32_t) value);
}

static inline uint16_t
vp_le16_get (const uint8_t *p)
{
  return (uint16_t) (p[1] << 8 | p[0]);
}
static inline uint32_t
vp_le32_get (const uint8_t *p)
{
  return (uint32_t) vp_le16_get (p + 2) << 16 | vp_le16_get (p);
}
static inline uint64_t
vp_le64_get (const uint8_t *p)
{
  return (uint64_t) vp_le32_get (p + 4) << 32 | vp_le32_get (p);
}
static inline void
vp_le16_set (uint8_t *p, uint16_t value)
{
  p[0] = (uint8_t) value;
  p[1] = (uint8_t) (value >> 8);
}
static inline void
vp_le32_set (uint8_t *p, uint32_t value)
{
  vp_le16_set (p, (uint16_t) value);
  vp_le16_set (p + 2, (uint16_t) (value >> 16));
}
static inline void
vp_le64_set (uint8_t *p, uint64_t value)
{
  vp_le32_set (p, (uint32_t) value);
  vp_le32_set (p + 4, (uint32_t) (value >> 32));
}

/* [offset, offset + length) lies within [0, limit): no overflow. */
static inline bool
vp_range_ok (uint64_t offset, uint64_t length, uint64_t limit)
{
  return offset <= limit && length <= limit - offset;
}
/* Both for powers of two; up saturates. */
static inline uint64_t
vp_round_down (uint64_t value, uint64_t unit)
{
  return value & ~(unit - 1);
}
static inline uint64_t
vp_round_up (uint64_t value, uint64_t unit)
{
  return value > UINT64_MAX - (unit - 1)
             ? vp_round_down (UINT64_MAX, unit)
             : vp_round_down (value + unit - 1, unit);
}

typedef enum { VP_FIELD_BIG, VP_FIELD_LITTLE } VpFieldOrder;

/* One number of 1, 2, 4 or 8 bytes, on disk and in a struct alike. */
typedef struct {
  const char *name;
  uint32_t offset; /* on disk */
  uint8_t width;   /* bytes, on disk and in the struct */
  VpFieldOrder order;
  size_t member; /* offsetof in the struct */
} VpField;

#define VP_FIELD_BE(type, member, offset)                                      \
  {                                                                            \
#member, offset, sizeof(((type *) 0)->member), VP_FIELD_BIG,               \
        offsetof(type, member)                                                 \
  }
#define VP_FIELD_LE(type, member, offset)                                      \
  {                                                                            \
#member, offset, sizeof(((type *) 0)->member), VP_FIELD_LITTLE,            \
        offsetof(type, member)                                                 \
  }

typedef struct {
  const VpField *fields;
  size_t n_fields;
} VpLayout;

/* Fields that do not lie within len are 0. */
void vp_layout_load (const VpLayout *layout, const uint8_t *buffer, size_t len,
                     void *record);
/* Fields that do not lie within len are left out. */
void vp_layout_store (const VpLayout *layout, const void *record,
                      uint8_t *buffer, size_t len);
uint64_t vp_layout_get (const VpField *field, const void *record);
