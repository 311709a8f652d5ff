/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* walk-xml: what a spec file may hold, as tables, and the walker that holds a
 * file against them.  Where RELAX NG says yes or no, the walker says what is
 * wrong, where, and what was meant; it goes on after a mistake, so that all
 * of them come out in one go.  The readers of values do the same: a value
 * that is absent or bad is NULL or false, and a bad one has been reported. */
#pragma once

#include "daemon/xml.h"

typedef struct {
  const char *path;    /* borrowed */
  GPtrArray *problems; /* borrowed */
  unsigned n_errors;
} VpWalk;

typedef struct VpShape VpShape;

typedef enum {
  VP_SHAPE_OPTIONAL = 0,
  VP_SHAPE_REQUIRED = 1 << 0,
  VP_SHAPE_MANY = 1 << 1,  /* an element that may come again */
  VP_SHAPE_LATER = 1 << 2, /* known to come; refused by name for now */
} VpShapeFlags;

typedef struct {
  const char *name; /* NULL ends a table */
  VpShapeFlags flags;
} VpShapeAttribute;

typedef struct {
  const char *name; /* NULL ends a table */
  VpShapeFlags flags;
  const VpShape *shape; /* NULL for LATER */
} VpShapeChild;

struct VpShape {
  const VpShapeAttribute *attributes; /* NULL: none */
  const VpShapeChild *children;       /* NULL: none */
  bool text;                          /* may hold text */
  bool any;                           /* its elements are not looked at */
};

/* Holds node and all below it against shape: names, number, stray text. */
void vp_walk_check (VpWalk *walk, const VpXmlNode *node, const VpShape *shape);

void vp_walk_error (VpWalk *walk, VpPlace place, const char *code,
                    const char *format, ...) G_GNUC_PRINTF (4, 5);
void vp_walk_warning (VpWalk *walk, VpPlace place, const char *code,
                      const char *format, ...) G_GNUC_PRINTF (4, 5);
/* Of the problems from index first on: in the order of the file. */
void vp_walk_sort (VpWalk *walk, guint first);

/* Attributes.  Strings: caller frees. */
char *vp_walk_name (VpWalk *walk, const VpXmlNode *node, const char *attribute);
char *vp_walk_path (VpWalk *walk, const VpXmlNode *node, const char *attribute);
char *vp_walk_link_name (VpWalk *walk, const VpXmlNode *node,
                         const char *attribute);
char *vp_walk_mac (VpWalk *walk, const VpXmlNode *node, const char *attribute);
char *vp_walk_uuid (VpWalk *walk, const VpXmlNode *node, const char *attribute);
/* ".10", ".1.10" or four numbers. */
char *vp_walk_address (VpWalk *walk, const VpXmlNode *node,
                       const char *attribute);
/* One of words (NULL-terminated); later are refused as not there yet, NULL:
 * none.  Gives the word of the table. */
const char *vp_walk_choice (VpWalk *walk, const VpXmlNode *node,
                            const char *attribute, const char *const *words,
                            const char *const *later);
bool vp_walk_number (VpWalk *walk, const VpXmlNode *node, const char *attribute,
                     unsigned max, unsigned *ret_number);
/* attribute NULL: the element's text.  A whole number of units of unit bytes,
 * at least one. */
bool vp_walk_size (VpWalk *walk, const VpXmlNode *node, const char *attribute,
                   uint64_t unit, uint64_t *ret_size);
/* "8080" or "8000-8010". */
bool vp_walk_ports (VpWalk *walk, const VpXmlNode *node, const char *attribute,
                    uint16_t *ret_first, uint16_t *ret_last);
