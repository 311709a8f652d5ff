/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* luks: making, opening, slots; headers that lie; and power cuts while a slot
 * comes or goes. */
#include "config.h"

#include "storage/luks.h"

#include <string.h>

#include "storage/error.h"
#include "storage/layout.h"
#include "tests/storage/engine-cases.h"

#define OFFSET  UINT64_C (65536)
#define PAYLOAD UINT64_C (4096)

/* Offsets in the header. */
#define AT_PAYLOAD 104u
#define AT_KEY_LEN 108u
#define AT_SLOT(n) (208u + 48u * (n))

static VpLuksOptions
quick_options (void)
{
  VpLuksOptions options = VP_LUKS_OPTIONS_INIT;
  options.iter_time_ms = 1;
  options.spec.cipher = VP_CIPHER_AES_128;
  return options;
}

static uint64_t
header_length (void)
{
  VpLuksOptions options = quick_options ();
  return vp_luks_measure (&options);
}

static VpSecret *
secret (const char *text)
{
  return vp_secret_new (NULL, text, strlen (text));
}

static VpFile *
make (void)
{
  VpLuksOptions options = quick_options ();
  g_autoptr (VpSecret) password = secret ("eins");
  VpFile *file = fake_file_new ("luks");
  ASSERT_OK (vp_luks_format (file, OFFSET, &options, password, &error));
  return file;
}

static VpLuks *
reopen (VpFile *file)
{
  g_autoptr (GError) error = NULL;
  VpLuks *luks = vp_luks_open (file, OFFSET, header_length (), &error);
  g_assert_no_error (error);
  return luks;
}

/* Whether text opens it; the payload must come out the same. */
static bool
opens (VpFile *file, const char *text)
{
  g_autoptr (VpLuks) luks = reopen (file);
  g_autoptr (VpSecret) password = secret (text);
  g_autoptr (GError) error = NULL;
  g_autoptr (VpCrypt) crypt = vp_luks_unlock (luks, password, &error);
  if (crypt)
    return true;
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_USAGE);
  g_assert_cmpstr (error->message, ==,
                   "Invalid password, cannot unlock any keyslot");
  return false;
}

static bool
add (VpFile *file, const char *old, const char *new, int slot, bool force,
     GError **error)
{
  g_autoptr (VpLuks) luks = reopen (file);
  g_autoptr (VpSecret) old_password = secret (old);
  g_autoptr (VpSecret) new_password = secret (new);
  return vp_luks_add_slot (luks, old_password, new_password, slot, 1,
                           force ? VP_LUKS_FORCE : 0, error);
}

static bool
erase (VpFile *file, int slot, const char *text, bool force, GError **error)
{
  g_autoptr (VpLuks) luks = reopen (file);
  g_autoptr (VpSecret) password = text ? secret (text) : NULL;
  return vp_luks_erase_slots (luks, slot, password, force ? VP_LUKS_FORCE : 0,
                              error);
}

static void
expect_wrong (bool ok, GError **error, const char *why)
{
  g_assert_false (ok);
  g_assert_nonnull (*error);
  if (!strstr ((*error)->message, why))
    g_test_message ("said: %s", (*error)->message);
  g_assert_nonnull (strstr ((*error)->message, why));
  g_clear_error (error);
}

/* ---- plain use ----------------------------------------------------------- */

static void
test_format (void)
{
  g_autoptr (VpFile) file = make ();
  g_autoptr (VpLuks) luks = reopen (file);
  const VpLuksInfo *info = vp_luks_get_info (luks);
  g_assert_cmpint (info->spec.cipher, ==, VP_CIPHER_AES_128);
  g_assert_cmpint (info->spec.mode, ==, VP_CIPHER_MODE_XTS);
  g_assert_cmpint (info->hash, ==, VP_HASH_SHA256);
  g_assert_cmpuint (info->key_len, ==, 32);
  g_assert_cmpuint (info->payload_offset, ==, header_length ());
  g_assert_cmpuint (strlen (info->uuid), ==, 36);
  g_assert_true (info->slots[0].active);
  g_assert_cmpuint (info->slots[0].iterations, >=, 1000);
  for (unsigned i = 1; i < VP_LUKS_SLOTS; i++)
    g_assert_false (info->slots[i].active);
  g_assert_true (opens (file, "eins"));
  g_assert_false (opens (file, "zwei"));
  g_assert_false (opens (file, ""));
  /* The default is what QEMU's is. */
  VpLuksOptions options = VP_LUKS_OPTIONS_INIT;
  g_assert_cmpuint (vp_luks_measure (&options), ==, 2068480);
}

static void
test_slots (void)
{
  g_autoptr (VpFile) file = make ();
  g_autoptr (GError) wrong = NULL;
  ASSERT_OK (add (file, "eins", "zwei", -1, false, &error));
  g_assert_true (opens (file, "eins") && opens (file, "zwei"));
  ASSERT_OK (add (file, "zwei", "drei", 7, false, &error));
  expect_wrong (add (file, "vier", "x", -1, false, &wrong), &wrong,
                "Invalid password");
  expect_wrong (add (file, "eins", "x", 7, false, &wrong), &wrong,
                "Refusing to overwrite active keyslot 7");
  expect_wrong (add (file, "eins", "x", 8, false, &wrong), &wrong,
                "Invalid keyslot 8 specified");
  ASSERT_OK (add (file, "eins", "neu", 7, true, &error));
  g_assert_true (!opens (file, "drei") && opens (file, "neu"));
  ASSERT_OK (erase (file, -1, "eins", false, &error));
  g_assert_true (!opens (file, "eins") && opens (file, "zwei"));
  expect_wrong (erase (file, -1, "eins", false, &wrong), &wrong,
                "No keyslots match");
  expect_wrong (erase (file, 0, NULL, false, &wrong), &wrong, "already erased");
  ASSERT_OK (erase (file, 7, NULL, false, &error));
  expect_wrong (erase (file, 1, NULL, false, &wrong), &wrong,
                "only active keyslot 1");
  expect_wrong (erase (file, -1, "zwei", false, &wrong), &wrong,
                "All the active keyslots match");
  expect_wrong (erase (file, 1, "eins", true, &wrong), &wrong,
                "doesn't contain the given");
  expect_wrong (erase (file, -1, NULL, true, &wrong), &wrong,
                "either explicit keyslot index or");
  g_assert_true (opens (file, "zwei"));
  ASSERT_OK (erase (file, 1, NULL, true, &error));
  g_assert_false (opens (file, "zwei"));
}

/* A rehearsal finds what is wrong and changes nothing. */
static void
test_dry (void)
{
  g_autoptr (VpFile) file = make ();
  g_autoptr (VpLuks) luks = reopen (file);
  g_autoptr (VpSecret) one = secret ("eins"), two = secret ("zwei");
  g_autoptr (GError) wrong = NULL;
  fake_file_fail (file, 0, false);
  ASSERT_OK (vp_luks_add_slot (luks, one, two, -1, 1, VP_LUKS_DRY, &error));
  expect_wrong (vp_luks_add_slot (luks, two, two, -1, 1, VP_LUKS_DRY, &wrong),
                &wrong, "Invalid password");
  expect_wrong (vp_luks_add_slot (luks, one, two, -1, 0, VP_LUKS_DRY, &wrong),
                &wrong, "iter-time");
  expect_wrong (vp_luks_erase_slots (luks, -1, one, VP_LUKS_DRY, &wrong),
                &wrong, "All the active keyslots match");
  ASSERT_OK (
      vp_luks_erase_slots (luks, -1, one, VP_LUKS_DRY | VP_LUKS_FORCE, &error));
  g_assert_cmpuint (fake_file_count (file), ==, 0);
}

static void
test_all_slots (void)
{
  g_autoptr (VpFile) file = make ();
  g_autoptr (GError) wrong = NULL;
  for (int i = 1; i < 8; i++)
    ASSERT_OK (add (file, "eins", i == 7 ? "last" : "more", -1, false, &error));
  expect_wrong (add (file, "eins", "x", -1, false, &wrong), &wrong,
                "all keyslots are in use");
  g_assert_true (opens (file, "last"));
  ASSERT_OK (erase (file, -1, "more", false, &error));
  g_assert_true (opens (file, "last") && !opens (file, "more"));
}

/* ---- headers that lie ---------------------------------------------------- */

typedef struct {
  const char *name;
  unsigned offset;
  const char *bytes;
  size_t len;
  const char *why;
} Lie;

#define LIE(name, offset, bytes, why)                                          \
  {                                                                            \
    name, offset, bytes, sizeof bytes - 1, why                                 \
  }
#define LONG_NAME "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const Lie lies[] = {
  LIE ("magic", 0, "X", "not in LUKS format"),
  LIE ("version", 6, "\0\2", "version 2"),
  LIE ("cipher", 8, "rot\0", "cipher 'rot"),
  LIE ("cipher without end", 8, LONG_NAME, "does not end"),
  LIE ("mode", 40, "ecb-plain64\0", "cipher mode 'ecb-plain64'"),
  LIE ("mode alone", 40, "xts\0", "cipher mode 'xts'"),
  LIE ("ivgen", 40, "xts-foo\0", "cipher mode"),
  LIE ("essiv without hash", 40, "cbc-essiv\0", "cipher mode"),
  LIE ("hash of plain64", 40, "xts-plain64:sha256\0", "cipher mode"),
  LIE ("essiv with nonsense", 40, "cbc-essiv:foo\0", "cipher mode"),
  LIE ("mode without end", 40, LONG_NAME, "does not end"),
  LIE ("hash", 72, "md5\0", "hash 'md5'"),
  LIE ("hash without end", 72, LONG_NAME, "does not end"),
  LIE ("escape in a name", 72, "\x1b[2J\0", "\\033[2J"),
  LIE ("payload at 0", AT_PAYLOAD, "\0\0\0\0", "payload overlaps"),
  LIE ("payload in slots", AT_PAYLOAD, "\0\0\0\x10", "encrypted payload"),
  LIE ("no key", AT_KEY_LEN, "\0\0\0\0", "0 bytes of key"),
  LIE ("huge key", AT_KEY_LEN, "\xff\xff\xff\xff", "bytes of key"),
  LIE ("odd key", AT_KEY_LEN, "\0\0\0\x21", "33 bytes of key"),
  LIE ("no master iterations", 164, "\0\0\0\0", "cannot be zero"),
  LIE ("uuid without end", 168, "0123456789012345678901234567890123456789",
       "does not end"),
  LIE ("slot state", AT_SLOT (0), "\0\0\0\1", "Keyslot 0 state"),
  LIE ("no iterations", AT_SLOT (0) + 4, "\0\0\0\0", "count is zero"),
  LIE ("stripes", AT_SLOT (3) + 44, "\0\0\x0f\xa1", "stripes 4001"),
  LIE ("no stripes", AT_SLOT (3) + 44, "\0\0\0\0", "stripes 0"),
  LIE ("slot over header", AT_SLOT (2) + 40, "\0\0\0\1", "the LUKS header"),
  LIE ("slot at 0", AT_SLOT (2) + 40, "\0\0\0\0", "the LUKS header"),
  LIE ("slot far away", AT_SLOT (2) + 40, "\xff\xff\xff\xff",
       "encrypted payload"),
  LIE ("slot on slot", AT_SLOT (2) + 40, "\0\0\0\x08", "are overlapping"),
};

static void
test_lies (void)
{
  g_autoptr (VpFile) good = make ();
  for (size_t i = 0; i < G_N_ELEMENTS (lies); i++) {
    g_autoptr (VpFile) file = fake_file_copy (good, "lie");
    g_autoptr (GError) error = NULL;
    g_test_message ("%s", lies[i].name);
    fake_file_poke (file, OFFSET + lies[i].offset, lies[i].bytes, lies[i].len);
    g_autoptr (VpLuks) luks =
        vp_luks_open (file, OFFSET, header_length (), &error);
    expect_wrong (luks != NULL, &error, lies[i].why);
  }
}

static void
test_range (void)
{
  g_autoptr (VpFile) file = make ();
  g_autoptr (GError) error = NULL;
  g_autoptr (VpLuks) small = vp_luks_open (file, OFFSET, 100, &error);
  expect_wrong (small != NULL, &error, "no room");
  g_autoptr (VpLuks) cut =
      vp_luks_open (file, OFFSET, header_length () - 4096, &error);
  expect_wrong (cut != NULL, &error, "encrypted payload");
}

/* It would take a year. */
static void
test_bomb (void)
{
  g_autoptr (VpFile) file = make ();
  g_autoptr (VpSecret) password = secret ("eins");
  g_autoptr (GError) error = NULL;
  fake_file_poke (file, OFFSET + AT_SLOT (0) + 4, "\xff\xff\xff\xff", 4);
  g_autoptr (VpLuks) luks = reopen (file);
  int64_t start = g_get_monotonic_time ();
  g_autoptr (VpCrypt) crypt = vp_luks_unlock (luks, password, &error);
  expect_wrong (crypt != NULL, &error, "more than 10 seconds");
  g_assert_cmpint (g_get_monotonic_time () - start, <, 5 * G_TIME_SPAN_SECOND);
}

/* Any byte of the header changed: refused, or opened by the password, or not;
 * no more than that. */
static void
test_noise (void)
{
  g_autoptr (VpFile) good = make ();
  g_autoptr (VpSecret) password = secret ("eins");
  Random random = { test_seed () };
  for (unsigned i = 0; i < test_rounds (150, 5000); i++) {
    g_autoptr (VpFile) file = fake_file_copy (good, "noise");
    for (uint64_t n = 1 + random_below (&random, 4); n > 0; n--) {
      uint8_t byte = (uint8_t) random_next (&random);
      fake_file_poke (file, OFFSET + random_below (&random, 592), &byte, 1);
    }
    g_autoptr (VpLuks) luks =
        vp_luks_open (file, OFFSET, header_length (), NULL);
    if (!luks || vp_luks_get_info (luks)->slots[0].iterations > 100000 ||
        vp_luks_get_info (luks)->master_iterations > 100000)
      continue;
    bool slow = false;
    for (unsigned k = 1; k < VP_LUKS_SLOTS; k++)
      slow = slow || vp_luks_get_info (luks)->slots[k].active;
    if (slow)
      continue;
    g_autoptr (VpCrypt) crypt = vp_luks_unlock (luks, password, NULL);
  }
}

/* ---- power cuts ---------------------------------------------------------- */

static bool
is_write (GPtrArray *ops, guint n)
{
  const FakeOp *op = g_ptr_array_index (ops, n);
  return op->kind == FAKE_WRITE;
}

/* Every state between the changes, and each change half done. */
static void
cut_everywhere (VpFile *before, GPtrArray *ops, const char *const *always,
                const char *comes, const char *goes)
{
  bool seen[2] = { false, false };
  for (guint n = 0; n <= ops->len; n++)
    for (unsigned torn = 0; torn < 3; torn++) {
      g_autoptr (VpFile) file = fake_file_copy (before, "cut");
      static const uint64_t kept[] = { 0, UINT64_C (0x5555555555555555),
                                       UINT64_C (0xaaaaaaaaaaaaaaaa) };
      for (guint i = 0; i < n; i++)
        fake_op_apply (g_ptr_array_index (ops, i), file);
      if (n < ops->len && is_write (ops, n))
        fake_op_apply_torn (g_ptr_array_index (ops, n), file, kept[torn]);
      for (const char *const *text = always; *text; text++)
        g_assert_true (opens (file, *text));
      if (comes)
        seen[opens (file, comes)] = true;
      if (goes)
        seen[opens (file, goes)] = true;
    }
  g_assert_true (seen[0] && seen[1]);
}

static void
test_cut_add (void)
{
  static const char *const always[] = { "eins", NULL };
  /* Slot 6 lies across two sectors of the header. */
  for (int slot = 1; slot < 8; slot += 5) {
    g_autoptr (VpFile) file = make ();
    g_autoptr (VpFile) before = fake_file_copy (file, "before");
    GPtrArray *ops = fake_file_record (file);
    ASSERT_OK (add (file, "eins", "zwei", slot, false, &error));
    cut_everywhere (before, ops, always, "zwei", NULL);
  }
}

static void
test_cut_erase (void)
{
  static const char *const always[] = { "eins", NULL };
  g_autoptr (VpFile) file = make ();
  ASSERT_OK (add (file, "eins", "zwei", 6, false, &error));
  g_autoptr (VpFile) before = fake_file_copy (file, "before");
  GPtrArray *ops = fake_file_record (file);
  ASSERT_OK (erase (file, -1, "zwei", false, &error));
  cut_everywhere (before, ops, always, NULL, "zwei");
}

/* Each write failing in turn: an error, and the old password still opens. */
static void
test_failing (void)
{
  g_autoptr (VpFile) good = make ();
  bool done = false;
  for (unsigned nth = 1; !done; nth++) {
    g_autoptr (VpFile) file = fake_file_copy (good, "failing");
    g_autoptr (GError) error = NULL;
    fake_file_fail (file, nth, true);
    bool ok = add (file, "eins", "zwei", -1, false, &error);
    done = !fake_file_has_failed (file);
    g_assert_true (ok == done && ok == (error == NULL));
    fake_file_fail (file, 0, false);
    g_autoptr (VpFile) after = fake_file_copy (file, "after");
    g_assert_true (opens (after, "eins"));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/luks/format", test_format);
  g_test_add_func ("/luks/slots", test_slots);
  g_test_add_func ("/luks/dry", test_dry);
  g_test_add_func ("/luks/all-slots", test_all_slots);
  g_test_add_func ("/luks/lies", test_lies);
  g_test_add_func ("/luks/range", test_range);
  g_test_add_func ("/luks/bomb", test_bomb);
  g_test_add_func ("/luks/noise", test_noise);
  g_test_add_func ("/luks/cut/add", test_cut_add);
  g_test_add_func ("/luks/cut/erase", test_cut_erase);
  g_test_add_func ("/luks/failing", test_failing);
  return g_test_run ();
}
