/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmdk-stream: see the header.
 *
 *     sector 0        header: version 3, gdOffset "at the end"
 *     1 ..            descriptor
 *     128 ..          | marker | grain ... to the sector's end |   rising
 *                     ... up to 512 of them, then
 *                     | marker 1 | grain table |     where it names a grain
 *                     ...
 *                     | marker 2 | grain directory |
 *                     | marker 3 | footer: the header, with gdOffset |
 *     last sector     end of stream: zeros
 *
 * That is the layout of the technical note and of what vSphere exports.  QEMU
 * 7.2 puts all tables in front, where a writer must go back, and ends without
 * an end of stream, which importers ask for; it reads this one.
 *
 * The file is never read and never written backwards, save for the tail of an
 * empty one that the first grain replaces. */
#include "config.h"

#include "storage/vmdk-sparse-internal.h"

#include <string.h>

#include "storage/error.h"

#define SECTOR        VMDK_STREAM_SECTOR
#define GRAIN         VMDK_STREAM_GRAIN
#define TABLE_ENTRIES 512u
#define TABLE_SIZE    (TABLE_ENTRIES * (size_t) 4)
#define TABLE_SPAN    (TABLE_ENTRIES * GRAIN) /* guest bytes */
#define OVERHEAD      ((uint64_t) 128 * SECTOR)
#define MARKER_LEN    12u /* of a grain */
#define NEWEST        3u
#define FLAGS         (VMDK_FLAG_NEWLINES | VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS)
#define DEFLATE       1u
#define LAST_SECTOR   UINT32_MAX

typedef enum {
  MARKER_END = 0,
  MARKER_TABLE = 1,
  MARKER_DIRECTORY = 2,
  MARKER_FOOTER = 3,
} MarkerType;

static bool
corrupt (VpFile *file, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT, "%s: %s",
               file->name, what);
  return false;
}

/* ---- markers ------------------------------------------------------------ */

/* "Markers": value, size and type; what a size of 0 has behind it depends on
 * the type. */
typedef struct {
  uint64_t value;
  uint32_t size, type;
} Marker;

static const VpField marker_fields[] = {
  VP_FIELD_LE (Marker, value, 0),
  VP_FIELD_LE (Marker, size, 8),
  VP_FIELD_LE (Marker, type, 12),
};
static const VpLayout marker_layout = { marker_fields,
                                        G_N_ELEMENTS (marker_fields) };

/* Of sectors that follow; to is zero. */
static void
put_marker (uint8_t *to, MarkerType type, size_t len)
{
  Marker marker = { .value = len / SECTOR, .type = type };
  vp_layout_store (&marker_layout, &marker, to, SECTOR);
}

/* ---- reading ------------------------------------------------------------ */

/* In all that says how the rest is to be read. */
static bool
agree (const VmdkHeader *a, const VmdkHeader *b)
{
  return a->magic == b->magic && a->version == b->version &&
         a->flags == b->flags && a->capacity == b->capacity &&
         a->grain_size == b->grain_size &&
         a->descriptor_offset == b->descriptor_offset &&
         a->descriptor_size == b->descriptor_size &&
         a->gtes_per_gt == b->gtes_per_gt && a->compression == b->compression;
}

bool
vmdk_stream_load_footer (VpFile *file, const uint8_t *header,
                         uint8_t *ret_footer, GError **error)
{
  uint8_t tail[3 * SECTOR]; /* marker, footer, end */
  static const uint8_t end[16] = { 0 };
  VmdkHeader head = { 0 }, footer = { 0 };
  Marker marker = { 0 };
  uint64_t size;
  if (!vp_file_get_size (file, &size, error))
    return false;
  size = vp_round_down (size, SECTOR);
  if (size < SECTOR + sizeof tail)
    return corrupt (file, error, "too short for a footer");
  if (!vp_file_read (file, size - sizeof tail, tail, sizeof tail, error))
    return false;
  vp_layout_load (&marker_layout, tail, SECTOR, &marker);
  vp_layout_load (&vmdk_header_layout, tail + SECTOR, SECTOR, &footer);
  if (marker.size != 0 || marker.type != MARKER_FOOTER || marker.value != 1 ||
      footer.magic != VMDK_MAGIC ||
      memcmp (tail + 2 * SECTOR, end, sizeof end) != 0)
    return corrupt (file, error,
                    "ends without a footer: the file was cut off, or is not "
                    "complete yet");
  vp_layout_load (&vmdk_header_layout, header, SECTOR, &head);
  if (!agree (&head, &footer))
    return corrupt (file, error, "header and footer do not agree");
  if (footer.gd_offset == VMDK_STREAM_AT_END)
    return corrupt (file, error, "the footer has no grain directory");
  memcpy (ret_footer, tail + SECTOR, SECTOR);
  return true;
}

static bool
bad_grain (VpFile *file, uint64_t offset, GError **error, const char *what)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_CORRUPT,
               "%s: the marker of the grain at 0x%" G_GINT64_MODIFIER "x %s",
               file->name, offset, what);
  return false;
}

/* No packer needs more, however bad it is. */
static uint64_t
most_packed (size_t unit)
{
  return (uint64_t) unit + unit / 4 + SECTOR;
}

bool
vmdk_stream_map (VpFile *file, bool has_markers, uint64_t offset,
                 uint64_t guest, size_t unit, VpRun *ret_run, GError **error)
{
  uint64_t most = most_packed (unit), file_size;
  *ret_run = (VpRun){ .kind = VP_RUN_COMPRESSED,
                      .file = file,
                      .offset = offset,
                      .codec = VP_CODEC_ZLIB,
                      .packed = most,
                      .unit = unit };
  if (!vp_file_get_size (file, &file_size, error))
    return false;
  if (!vp_range_ok (offset, MARKER_LEN, file_size))
    return bad_grain (file, offset, error, "lies past the end of the file");
  ret_run->packed = MIN (most, file_size - offset);
  if (!has_markers)
    return true;
  uint8_t bytes[MARKER_LEN];
  Marker marker = { 0 };
  if (!vp_file_read (file, offset, bytes, sizeof bytes, error))
    return false;
  vp_layout_load (&marker_layout, bytes, sizeof bytes, &marker);
  ret_run->offset = offset + MARKER_LEN;
  ret_run->packed = marker.size;
  if (marker.value != guest / SECTOR)
    return bad_grain (file, offset, error, "is that of another grain");
  if (marker.size == 0 || marker.size > most)
    return bad_grain (file, offset, error, "has a size that cannot be");
  if (!vp_range_ok (ret_run->offset, marker.size, file_size))
    return bad_grain (file, offset, error,
                      "has a size that goes past the end of the file");
  return true;
}

/* ---- writing ------------------------------------------------------------ */

struct VmdkStream {
  VpFile *file; /* borrowed */
  bool unordered;
  uint8_t header[SECTOR];
  uint64_t capacity;   /* bytes */
  uint64_t start, end; /* of what comes behind the overhead */
  uint64_t next;       /* the first guest byte that can still be written */
  uint8_t *directory;  /* as on disk, whole sectors */
  size_t directory_len;
  uint64_t table_number; /* the one that is being filled */
  bool table_used;
  uint8_t table[TABLE_SIZE]; /* as on disk */
  unsigned reserved;         /* places that are not linked yet */
  bool begun, gap, settled;
};

static size_t
directory_len (uint64_t capacity)
{
  uint64_t tables = capacity / TABLE_SPAN + (capacity % TABLE_SPAN != 0);
  return (size_t) vp_round_up (tables * 4, SECTOR);
}

/* Directory, footer, end of stream at offset, as one write; nothing of the
 * file lies behind it. */
static bool
write_tail (VpFile *file, const uint8_t *header, const uint8_t *directory,
            size_t len, uint64_t offset, GError **error)
{
  VmdkHeader footer = { 0 };
  size_t tail_len = SECTOR + len + 3 * SECTOR;
  g_autofree uint8_t *tail = g_malloc0 (tail_len);
  uint8_t *at = tail;
  put_marker (at, MARKER_DIRECTORY, len);
  at += SECTOR;
  if (len > 0) /* an image without a byte has no directory */
    memcpy (at, directory, len);
  put_marker (at += len, MARKER_FOOTER, SECTOR);
  vp_layout_load (&vmdk_header_layout, header, SECTOR, &footer);
  footer.gd_offset = offset / SECTOR + 1;
  vp_layout_store (&vmdk_header_layout, &footer, at + SECTOR, SECTOR);
  return vp_file_write (file, offset, tail, tail_len, error);
}

bool
vmdk_stream_create (VpFile *file, uint64_t capacity, uint64_t descriptor_size,
                    uint64_t *ret_descriptor_offset, GError **error)
{
  uint64_t text = vp_round_up (descriptor_size, SECTOR);
  VmdkHeader header = {
    .magic = VMDK_MAGIC,
    .version = NEWEST,
    .flags = FLAGS,
    .capacity = capacity / SECTOR,
    .grain_size = GRAIN / SECTOR,
    .descriptor_offset = text > 0 ? 1 : 0,
    .descriptor_size = text / SECTOR,
    .gtes_per_gt = TABLE_ENTRIES,
    .gd_offset = VMDK_STREAM_AT_END,
    .overhead = MAX (vp_round_up (SECTOR + text, GRAIN), OVERHEAD) / SECTOR,
    .single_end = '\n',
    .no_end = ' ',
    .double_end_1 = '\r',
    .double_end_2 = '\n',
    .compression = DEFLATE
  };
  g_return_val_if_fail (capacity % SECTOR == 0, false);
  if (file->is_device) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_UNSUPPORTED,
                 "%s: a streamOptimized image ends where its file ends, and "
                 "cannot be on a device",
                 file->name);
    return false;
  }
  if (capacity / TABLE_SPAN >= VP_MAX_TABLE_SIZE / 4) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: too large for a streamOptimized image", file->name);
    return false;
  }
  uint8_t bytes[SECTOR] = { 0 };
  size_t len = directory_len (capacity);
  g_autofree uint8_t *directory = g_malloc0 (len);
  vp_layout_store (&vmdk_header_layout, &header, bytes, sizeof bytes);
  if (!write_tail (file, bytes, directory, len, header.overhead * SECTOR,
                   error) ||
      !vp_file_write (file, 0, bytes, sizeof bytes, error))
    return false;
  *ret_descriptor_offset = header.descriptor_offset * SECTOR;
  return true;
}

static bool
fail_finished (VpFile *file, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_READ_ONLY,
               "%s: a streamOptimized image is written once and cannot be "
               "changed; convert it",
               file->name);
  return false;
}

/* Only what create makes, so that nothing of another writer is lost. */
static bool
is_ours (const VmdkHeader *h)
{
  return h->magic == VMDK_MAGIC && h->version == NEWEST && h->flags == FLAGS &&
         h->gd_offset == VMDK_STREAM_AT_END &&
         h->grain_size == GRAIN / SECTOR && h->gtes_per_gt == TABLE_ENTRIES &&
         h->compression == DEFLATE && h->overhead >= OVERHEAD / SECTOR &&
         h->overhead < VP_MAX_TABLE_SIZE / SECTOR &&
         h->capacity <= VP_MAX_VIRTUAL_SIZE / SECTOR &&
         h->capacity * SECTOR / TABLE_SPAN < VP_MAX_TABLE_SIZE / 4;
}

/* No grain and no table: the directory comes right behind the overhead, and
 * is zero. */
static bool
load_empty (VmdkStream *stream, bool *ret_empty, GError **error)
{
  VmdkHeader header = { 0 }, footer = { 0 };
  uint8_t bytes[SECTOR];
  *ret_empty = false;
  if (!vp_file_read (stream->file, 0, stream->header, SECTOR, error))
    return false;
  vp_layout_load (&vmdk_header_layout, stream->header, SECTOR, &header);
  if (!is_ours (&header))
    return true;
  if (!vmdk_stream_load_footer (stream->file, stream->header, bytes, error))
    return false;
  vp_layout_load (&vmdk_header_layout, bytes, SECTOR, &footer);
  stream->capacity = header.capacity * SECTOR;
  stream->start = stream->end = header.overhead * SECTOR;
  stream->directory_len = directory_len (stream->capacity);
  stream->directory = g_malloc0 (MAX (stream->directory_len, 1));
  if (footer.gd_offset != header.overhead + 1)
    return true;
  if (!vp_file_read (stream->file, stream->start + SECTOR, stream->directory,
                     stream->directory_len, error))
    return false;
  *ret_empty = true;
  for (size_t i = 0; i < stream->directory_len; i++)
    if (stream->directory[i] != 0)
      *ret_empty = false;
  return true;
}

bool
vmdk_stream_open (VpFile *file, VpDriverFlags flags, VmdkStream **ret_stream,
                  GError **error)
{
  VmdkStream *stream = g_new0 (VmdkStream, 1);
  bool empty = false;
  stream->file = file;
  stream->unordered = flags & VP_DRIVER_UNORDERED;
  if (load_empty (stream, &empty, error) &&
      (empty || fail_finished (file, error))) {
    *ret_stream = stream;
    return true;
  }
  vmdk_stream_free (stream);
  return false;
}

void
vmdk_stream_free (VmdkStream *stream)
{
  if (!stream)
    return;
  g_free (stream->directory);
  g_free (stream);
}

void
vmdk_stream_packing (const VmdkStream *stream, VpPacking *ret_packing)
{
  *ret_packing =
      (VpPacking){ .codec = VP_CODEC_ZLIB, .unit = GRAIN, .always = true };
}

/* The sector at the end, for an entry. */
static bool
end_sector (VmdkStream *stream, uint32_t *ret_sector, GError **error)
{
  if (stream->end / SECTOR > LAST_SECTOR) {
    g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_RANGE,
                 "%s: the file would pass 2 TiB, the most for this format",
                 stream->file->name);
    return false;
  }
  *ret_sector = (uint32_t) (stream->end / SECTOR);
  return true;
}

/* The table that was filled; one that names nothing is left out. */
static bool
put_table (VmdkStream *stream, GError **error)
{
  uint8_t bytes[SECTOR + TABLE_SIZE] = { 0 };
  uint32_t sector;
  if (!stream->table_used)
    return true;
  put_marker (bytes, MARKER_TABLE, TABLE_SIZE);
  memcpy (bytes + SECTOR, stream->table, TABLE_SIZE);
  stream->end += SECTOR;
  if (!end_sector (stream, &sector, error) ||
      !vp_file_write (stream->file, stream->end - SECTOR, bytes, sizeof bytes,
                      error))
    return false;
  stream->end += TABLE_SIZE;
  vp_le32_set (stream->directory + stream->table_number * 4, sector);
  memset (stream->table, 0, TABLE_SIZE);
  stream->table_used = false;
  return true;
}

/* The empty one's tail goes. */
static bool
begin (VmdkStream *stream, GError **error)
{
  if (stream->begun)
    return true;
  stream->begun = true;
  return vp_file_truncate (stream->file, stream->start, error);
}

static bool
can_reserve (VmdkStream *stream, uint64_t offset, uint64_t len, GError **error)
{
  VpPacking packing;
  vmdk_stream_packing (stream, &packing);
  g_return_val_if_fail (offset % GRAIN == 0 && offset < stream->capacity &&
                            len > 0 && len <= most_packed (GRAIN),
                        false);
  if (stream->settled || offset < stream->next)
    return fail_finished (stream->file, error);
  return true;
}

bool
vmdk_stream_reserve_packed (VmdkStream *stream, uint64_t offset, uint64_t len,
                            VpPlace *ret_place, GError **error)
{
  uint64_t number = offset / TABLE_SPAN;
  uint32_t sector;
  if (!can_reserve (stream, offset, len, error) || !begin (stream, error) ||
      (number != stream->table_number && !put_table (stream, error)) ||
      !end_sector (stream, &sector, error))
    return false;
  stream->table_number = number;
  stream->table_used = true;
  vp_le32_set (stream->table + offset % TABLE_SPAN / GRAIN * 4, sector);
  *ret_place = (VpPlace){ .file = stream->file,
                          .offset = stream->end + MARKER_LEN,
                          .guest = offset,
                          .length = GRAIN,
                          .packed = len };
  stream->end += vp_round_up (MARKER_LEN + len, SECTOR);
  stream->next = offset + GRAIN;
  stream->reserved++;
  return true;
}

bool
vmdk_stream_link_packed (VmdkStream *stream, const VpPlace *place,
                         GError **error)
{
  uint8_t bytes[MARKER_LEN] = { 0 };
  Marker marker = { .value = place->guest / SECTOR,
                    .size = (uint32_t) place->packed };
  vp_layout_store (&marker_layout, &marker, bytes, sizeof bytes);
  if (!vp_file_write (stream->file, place->offset - MARKER_LEN, bytes,
                      sizeof bytes, error)) {
    stream->gap = true;
    return false;
  }
  stream->reserved--;
  return true;
}

void
vmdk_stream_unreserve (VmdkStream *stream)
{
  stream->gap = true;
}

bool
vmdk_stream_zero (VmdkStream *stream, uint64_t offset, uint64_t length,
                  uint64_t *ret_done, GError **error)
{
  if (offset < stream->next)
    return fail_finished (stream->file, error);
  *ret_done = length;
  return true;
}

bool
vmdk_stream_find (VmdkStream *stream, uint64_t offset, uint64_t *ret_offset,
                  GError **error)
{
  uint64_t number = offset / TABLE_SPAN;
  size_t entry = (size_t) (offset % TABLE_SPAN / GRAIN) * 4;
  uint8_t bytes[4];
  *ret_offset = 0;
  if (stream->table_used && number == stream->table_number) {
    *ret_offset = (uint64_t) vp_le32_get (stream->table + entry) * SECTOR;
    return true;
  }
  uint64_t table = vp_le32_get (stream->directory + number * 4);
  if (table == 0)
    return true;
  if (!vp_file_read (stream->file, table * SECTOR + entry, bytes, sizeof bytes,
                     error))
    return false;
  *ret_offset = (uint64_t) vp_le32_get (bytes) * SECTOR;
  return true;
}

bool
vmdk_stream_flush (VmdkStream *stream, GError **error)
{
  return (stream->begun && !stream->settled) ||
         vp_file_flush (stream->file, error);
}

static bool
complain_of_gap (VmdkStream *stream, GError **error)
{
  g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED,
               "%s: a grain could not be written, and the image is not "
               "complete",
               stream->file->name);
  return false;
}

/* What the footer leads to lasts before there is a footer. */
bool
vmdk_stream_settle (VmdkStream *stream, GError **error)
{
  if (!stream->begun || stream->settled)
    return true;
  if (stream->gap || stream->reserved > 0)
    return complain_of_gap (stream, error);
  if (!put_table (stream, error) ||
      (!stream->unordered && !vp_file_flush (stream->file, error)) ||
      !write_tail (stream->file, stream->header, stream->directory,
                   stream->directory_len, stream->end, error))
    return false;
  stream->settled = true;
  return vp_file_flush (stream->file, error);
}
