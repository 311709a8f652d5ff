/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* img-target: see the header. */
#include "config.h"

#include "storage/img-target.h"

#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/img-pipe.h"
#include "storage/img.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
fail (GError **error, const char *path, const char *what)
{
  int saved = errno;

  g_set_error (error, G_FILE_ERROR, (int) g_file_error_from_errno (saved),
               "%s: %s%s", path, what, g_strerror (saved));
  return false;
}

bool
vp_img_target_open (VpImgTarget *target, const char *path, GError **error)
{
  *target = (VpImgTarget){ .path = g_strdup (path), .fd = -1 };
  if (vp_img_is_pipe (path)) {
    target->kind = VP_IMG_TARGET_PIPE;
    target->fd = vp_img_pipe_spool (error);
    return target->fd >= 0;
  }
  /* O_NONBLOCK: a FIFO is refused later and must not hold us here. */
  target->fd = open (path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (target->fd >= 0) {
    target->kind = VP_IMG_TARGET_OLD;
    return true;
  }
  if (errno != ENOENT)
    return fail (error, path, "");

  g_autofree char *folder = g_path_get_dirname (path);
  target->fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
  if (target->fd >= 0) {
    target->kind = VP_IMG_TARGET_NAMELESS;
    return true;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
    return fail (error, path, "");
  target->fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (target->fd < 0)
    return fail (error, path, "");
  target->kind = VP_IMG_TARGET_NEW;
  return true;
}

static VpFile *
open_file (const VpImgTarget *target, GError **error)
{
  VpFile *file =
      vp_file_open_fd (target->fd, target->path, VP_FILE_WRITABLE, error);

  if (file != NULL)
    vp_file_add_caching (file, target->caching);
  return file;
}

/* Nothing of a source is emptied, not even with -U. */
static bool
check_part (const VpImgTarget *target, const VpFile *part, GError **error)
{
  for (guint i = 0; target->sources != NULL && i < target->sources->len; i++)
    if (part->has_id &&
        vp_image_uses_file (g_ptr_array_index (target->sources, i), part->id,
                            NULL)) {
      g_set_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                   "%s: source and target are one file", part->name);
      return false;
    }
  return true;
}

/* ---- extents ------------------------------------------------------------ */

/* What a signal takes away: names that end with NULL.  A process has one
 * target, and one thread that changes this. */
static char **volatile half_made;

static void
unlink_all (char **names)
{
  for (; names != NULL && *names != NULL; names++)
    (void) unlink (*names); /* half of nothing */
}

static void
on_signal (int number)
{
  unlink_all (half_made);
  (void) signal (number, SIG_DFL);
  (void) raise (number); /* when the handler is over */
}

static void
guard_parts (const VpImgTarget *target)
{
  static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

  half_made = (char **) target->made->pdata;
  for (size_t i = 0; i < G_N_ELEMENTS (numbers); i++)
    if (signal (numbers[i], on_signal) == SIG_IGN)
      (void) signal (numbers[i], SIG_IGN);
}

/* They stay, or are gone. */
static void
forget_parts (VpImgTarget *target)
{
  half_made = NULL;
  g_clear_pointer (&target->made, g_ptr_array_unref);
}

/* Extents have their names from the beginning; what is new of them goes again
 * where the image comes to nothing. */
static bool
make_parts (VpImgTarget *target, const VpFormat *format,
            const VpCreateOptions *options, VpOpener *opener,
            GPtrArray **ret_parts, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (target->path);
  char *name;

  *ret_parts = NULL;
  if (format->part_to_make == NULL)
    return true;
  if (format->check_create != NULL && !format->check_create (options, error))
    return false;
  forget_parts (target);
  target->made = g_ptr_array_new_with_free_func (g_free);
  for (unsigned i = 0;
       i < VP_MAX_PARTS &&
       (name = format->part_to_make (options, target->path, i)) != NULL;
       i++) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_free (name);
    struct stat st; /* a link that leads nowhere is there */
    if (lstat (path, &st) < 0 && errno == ENOENT)
      g_ptr_array_add (target->made, g_steal_pointer (&path));
  }
  g_ptr_array_add (target->made, NULL);
  guard_parts (target);
  if (!vp_image_make_parts (opener, target->path, format, options, ret_parts,
                            error))
    return false;
  for (guint i = 0; *ret_parts != NULL && i < (*ret_parts)->len; i++) {
    VpFile *part = g_ptr_array_index (*ret_parts, i);
    if (!check_part (target, part, error)) {
      g_clear_pointer (ret_parts, g_ptr_array_unref);
      return false;
    }
    vp_file_add_caching (part, target->caching);
  }
  return true;
}

static void
remove_parts (VpImgTarget *target)
{
  if (target->made != NULL)
    unlink_all ((char **) target->made->pdata);
}

bool
vp_img_target_create (VpImgTarget *target, const VpFormat *format,
                      const VpCreateOptions *options, GError **error)
{
  VpCreateOptions wanted = *options;
  VpOpener opener = vp_opener_person (0);
  g_autoptr (VpFile) data = NULL;

  if (wanted.data_name != NULL && format->check_create != NULL &&
      !format->check_create (&wanted, error))
    return false;
  if (wanted.data_name != NULL) {
    /* The image may not have its name yet, so that this is about names. */
    g_autofree char *one = g_canonicalize_filename (target->path, NULL);
    g_autofree char *other = g_canonicalize_filename (wanted.data_name, NULL);
    if (strcmp (one, other) == 0) {
      g_set_error_literal (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE,
                           "the image and its data file are one file");
      return false;
    }
    data = vp_image_make_data_file (&opener, target->path, wanted.data_name,
                                    error);
    if (data == NULL || !check_part (target, data, error))
      return false;
    vp_file_add_caching (data, target->caching);
  }
  wanted.data_file = data;
  g_autoptr (GPtrArray) parts = NULL;
  if (!make_parts (target, format, &wanted, &opener, &parts, error))
    return false;
  wanted.parts = parts;
  /* The size is known by now: the backing file is opened once, when the image
   * is, unless the image is to say what it held. */
  g_autoptr (VpFile) file = open_file (target, error);
  return file != NULL &&
         vp_image_create_file (file, format->name, &wanted,
                               format->content_id ? &opener : NULL, error);
}

VpImage *
vp_img_target_open_image (const VpImgTarget *target, const VpFormat *format,
                          const VpCreateOptions *options, VpOpener *opener,
                          GError **error)
{
  const VpEncryptOptions *encrypt = &options->encrypt;
  VpOpenOptions how = { .format = format->name,
                        .flags = VP_IMAGE_WRITABLE | VP_IMAGE_UNORDERED,
                        .opener = opener };
  g_autoptr (VpFile) file = open_file (target, error);

  if (file == NULL)
    return NULL;
  if (encrypt->key_secret != NULL &&
      (how.key = vp_secrets_find (encrypt->secrets, encrypt->key_secret,
                                  error)) == NULL)
    return NULL;
  VpImage *image = vp_image_open_with (file, &how, error);
  /* Its data file is open only now. */
  if (image != NULL)
    vp_image_add_caching (image, target->caching);
  return image;
}

VpImage *
vp_img_target_make (VpImgTarget *target, const VpFormat *format,
                    const VpCreateOptions *options, VpOpener *opener,
                    GError **error)
{
  if (!vp_img_target_create (target, format, options, error))
    return NULL;
  return vp_img_target_open_image (target, format, options, opener, error);
}

bool
vp_img_target_reads_zeros (VpImage *image)
{
  return vp_image_get_backing (image) == NULL &&
         !vp_image_get_format (image)->new_is_noise &&
         !(vp_image_get_file (image)->is_device &&
           vp_image_get_cluster_size (image) == 0);
}

int
vp_img_target_fail (const VpImgTarget *target, const GError *error)
{
  (void) vp_img_fail_about (target->path, error, 1);
  if (target->kind == VP_IMG_TARGET_OLD)
    vp_img_complain ("%s: was there before, and what it held is gone in part",
                     target->path);
  return 1;
}

static bool
sync_folder (const char *path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  vp_autofd int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  /* A folder that we may write in and not read cannot be synced. */
  if (fd < 0 && errno == EACCES)
    return true;
  if (fd < 0 || (fsync (fd) < 0 && errno != EINVAL))
    return fail (error, folder, "cannot sync: ");
  return true;
}

bool
vp_img_target_commit (VpImgTarget *target, GError **error)
{
  if (target->kind == VP_IMG_TARGET_OLD) {
    forget_parts (target);
    return true;
  }
  if (target->kind == VP_IMG_TARGET_PIPE)
    return vp_img_pipe_send (target->fd, error);
  bool lasts = !(target->caching & VP_FILE_CACHE_UNSAFE);
  if (lasts && fsync (target->fd) < 0)
    return fail (error, target->path, "cannot sync: ");
  if (target->kind == VP_IMG_TARGET_NAMELESS) {
    char self[64];
    g_snprintf (self, sizeof self, "/proc/self/fd/%d", target->fd);
    if (linkat (AT_FDCWD, self, AT_FDCWD, target->path, AT_SYMLINK_FOLLOW) < 0)
      return fail (error, target->path, "cannot give the image its name: ");
  }
  target->kind = VP_IMG_TARGET_OLD;
  forget_parts (target);
  return !lasts || sync_folder (target->path, error);
}

void
vp_img_target_clear (VpImgTarget *target)
{
  if (target->fd >= 0 && target->kind == VP_IMG_TARGET_NEW)
    (void) unlink (target->path); /* we made it a moment ago */
  remove_parts (target);
  forget_parts (target);
  g_clear_pointer (&target->sources, g_ptr_array_unref);
  vp_close_fd (&target->fd);
  g_clear_pointer (&target->path, g_free);
}

/* Locks do not always tell: there is -U, and there are file systems. */
static bool
check_source (VpFileId id, const char *path, VpImage *source)
{
  bool below;

  if (!vp_image_uses_file (source, id, &below))
    return true;
  vp_img_complain (below ? "%s: is a backing file of the source"
                         : "%s: source and target are one file",
                   path);
  return false;
}

bool
vp_img_target_check_source (VpImgTarget *target, VpImage *source)
{
  if (target->sources == NULL)
    target->sources = g_ptr_array_new ();
  g_ptr_array_add (target->sources, source);

  struct stat st;

  if (fstat (target->fd, &st) < 0)
    return true; /* what is wrong shows when it is written */
  VpFileId id = { st.st_dev, st.st_ino };
  if (S_ISBLK (st.st_mode))
    id = (VpFileId){ st.st_rdev, 0 };
  return check_source (id, target->path, source);
}

bool
vp_img_target_check_image (VpImage *target, const char *path, VpImage *source)
{
  const VpFile *file = vp_image_get_file (target);

  return !file->has_id || check_source (file->id, path, source);
}
