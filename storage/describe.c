/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* describe: the list that drivers fill. */
#include "config.h"

#include "storage/describe.h"

#include "storage/error.h"

static void
fact_free (gpointer data)
{
  VpHeaderFact *fact = data;
  g_free (fact->name);
  g_free (fact->meaning);
  g_free (fact);
}

GPtrArray *
vp_describe_header (VpFile *file, const VpFormat *format, GError **error)
{
  if (!format->describe) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: %s images have no header", file->name, format->name);
    return NULL;
  }
  g_autoptr (GPtrArray) facts = g_ptr_array_new_with_free_func (fact_free);
  if (!format->describe (file, facts, error))
    return NULL;
  return g_steal_pointer (&facts);
}

static VpHeaderFact *
add (GPtrArray *facts, uint64_t offset, uint64_t length, const char *name,
     char *meaning)
{
  VpHeaderFact *fact = g_new0 (VpHeaderFact, 1);
  fact->offset = offset;
  fact->length = length;
  fact->name = g_strdup (name);
  fact->meaning = meaning ? g_utf8_make_valid (meaning, -1) : NULL;
  g_free (meaning);
  g_ptr_array_add (facts, fact);
  return fact;
}

void
vp_describe_number (GPtrArray *facts, uint64_t offset, uint64_t length,
                    const char *name, uint64_t value, char *meaning)
{
  VpHeaderFact *fact = add (facts, offset, length, name, meaning);
  fact->has_value = true;
  fact->value = value;
}

void
vp_describe_text (GPtrArray *facts, uint64_t offset, uint64_t length,
                  const char *name, char *meaning)
{
  (void) add (facts, offset, length, name, meaning);
}
