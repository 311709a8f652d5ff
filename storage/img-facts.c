/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-facts: see the header.  For lines, a stack of the open levels: how many
 * items each has, where it is a list. */
#include "config.h"

#include "storage/img-facts.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/img.h"

#define STEP 4u

typedef struct {
  unsigned n_items; /* of a list */
} Level;

struct VpImgFacts {
  VpJson *json; /* borrowed */
  unsigned indent;
  GArray *levels; /* of Level */
};

VpImgFacts *
vp_img_facts_new (VpJson *json, unsigned indent)
{
  VpImgFacts *facts = g_new0 (VpImgFacts, 1);

  facts->json = json;
  facts->indent = indent;
  facts->levels = g_array_new (FALSE, FALSE, sizeof (Level));
  return facts;
}

void
vp_img_facts_free (VpImgFacts *facts)
{
  if (facts == NULL)
    return;
  g_array_unref (facts->levels);
  g_free (facts);
}

/* "    cluster size:", or the item's number. */
static void
print_key (VpImgFacts *facts, const char *key)
{
  unsigned depth = facts->levels->len;

  printf ("%*s", (int) (facts->indent + depth * STEP), "");
  if (key == NULL) {
    Level *level = &g_array_index (facts->levels, Level, depth - 1);
    printf ("[%u]:", level->n_items++);
    return;
  }
  for (const char *p = key; *p != '\0'; p++)
    putchar (*p == '-' ? ' ' : *p);
  putchar (':');
}

static void
open_level (VpImgFacts *facts, const char *key)
{
  Level level = { 0 };

  print_key (facts, key);
  putchar ('\n');
  g_array_append_val (facts->levels, level);
}

void
vp_img_facts_open_object (VpImgFacts *facts, const char *key)
{
  if (facts->json != NULL)
    vp_json_open_object (facts->json, key);
  else
    open_level (facts, key);
}

void
vp_img_facts_open_list (VpImgFacts *facts, const char *key)
{
  if (facts->json != NULL)
    vp_json_open_array (facts->json, key);
  else
    open_level (facts, key);
}

void
vp_img_facts_close (VpImgFacts *facts)
{
  if (facts->json != NULL)
    vp_json_close (facts->json);
  else
    g_array_set_size (facts->levels, facts->levels->len - 1);
}

void
vp_img_facts_string (VpImgFacts *facts, const char *key, const char *value)
{
  if (facts->json != NULL) {
    vp_json_string (facts->json, key, value);
    return;
  }
  g_autofree char *printable = vp_img_printable (value);
  print_key (facts, key);
  printf (" %s\n", printable);
}

void
vp_img_facts_uint (VpImgFacts *facts, const char *key, uint64_t value)
{
  if (facts->json != NULL) {
    vp_json_uint (facts->json, key, value);
    return;
  }
  print_key (facts, key);
  printf (" %" PRIu64 "\n", value);
}

void
vp_img_facts_bool (VpImgFacts *facts, const char *key, bool value)
{
  if (facts->json != NULL) {
    vp_json_bool (facts->json, key, value);
    return;
  }
  print_key (facts, key);
  printf (" %s\n", value ? "true" : "false");
}
