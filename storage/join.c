/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* join: an image whose map asks others.  Whoever copies it sees one disk, so
 * that a unit of the target is filled as a whole where one source ends in the
 * midst of it and the next begins: packed units could not be written else. */
#include "config.h"

#include "storage/join.h"

#include "storage/error.h"
#include "storage/image-internal.h"

typedef struct {
  VpImage *image; /* borrowed */
  uint64_t start, end;
} Member;

typedef struct {
  GArray *members; /* of Member, in their order; without empty ones */
  uint64_t size;
} Join;

static const Member *
find_member (const Join *join, uint64_t offset)
{
  guint low = 0, high = join->members->len;
  while (high - low > 1) {
    guint middle = low + (high - low) / 2;
    if (g_array_index (join->members, Member, middle).start <= offset)
      low = middle;
    else
      high = middle;
  }
  return &g_array_index (join->members, Member, low);
}

/* Backing images and holes are known to the member alone. */
static bool
join_map (gpointer state, uint64_t offset, uint64_t length, VpRun *ret_run,
          GError **error)
{
  const Member *member = find_member (state, offset);
  VpAnswer answer;
  VpExtent extent;
  length = MIN (length, member->end - offset);
  if (!vp_image_resolve (member->image, offset - member->start, length, &answer,
                         error) ||
      !vp_image_check_answer (&answer, error))
    return false;
  vp_image_describe (&answer, offset - member->start, &extent);
  *ret_run = answer.run;
  ret_run->length = extent.length;
  if (extent.zero && answer.run.kind == VP_RUN_DATA)
    *ret_run = (VpRun){ .kind = VP_RUN_ZERO, .length = extent.length };
  return true;
}

static uint64_t
join_get_size (gpointer state)
{
  return ((Join *) state)->size;
}

static void
join_close (gpointer state)
{
  Join *join = state;
  g_array_unref (join->members);
  g_free (join);
}

static const VpFormat joined = {
  .name = "joined",
  .close = join_close,
  .get_size = join_get_size,
  .map = join_map,
};

/* The largest of a chain, for whoever wants to read packed ones whole. */
static uint64_t
largest_cluster (VpImage *image)
{
  uint64_t largest = 0;
  for (; image; image = image->backing)
    largest = MAX (largest, image->cluster_size);
  return largest;
}

VpImage *
vp_image_join (const GPtrArray *images, GError **error)
{
  g_return_val_if_fail (images->len > 0, NULL);
  Join *join = g_new0 (Join, 1);
  VpImage *first = g_ptr_array_index (images, 0);
  VpImage *image = g_new0 (VpImage, 1);
  image->format = &joined;
  image->state = join;
  image->file = vp_file_ref (first->file);
  image->grain = 1;
  image->transfer = vp_transfer_new ();
  join->members = g_array_new (FALSE, FALSE, sizeof (Member));
  for (guint i = 0; i < images->len; i++) {
    VpImage *next = g_ptr_array_index (images, i);
    Member member = { next, join->size, join->size };
    if (__builtin_add_overflow (join->size, vp_image_get_size (next),
                                &member.end) ||
        member.end > VP_MAX_VIRTUAL_SIZE) {
      g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                           "the sources are too large together");
      vp_image_free (image);
      return NULL;
    }
    join->size = member.end;
    image->cluster_size = MAX (image->cluster_size, largest_cluster (next));
    if (member.end > member.start)
      g_array_append_val (join->members, member);
  }
  return image;
}
