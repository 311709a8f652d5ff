/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* message: what goes out comes in, and nothing crooked does. */
#include "config.h"

#include "storage/autofd.h"
#include "storage/error.h"
#include "storage/message.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
  int fds[2];
} Pair;

static void
set_up (Pair *pair, gconstpointer data)
{
  g_assert_no_errno (
      socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair->fds));
}

static void
tear_down (Pair *pair, gconstpointer data)
{
  vp_close_fd (&pair->fds[0]);
  vp_close_fd (&pair->fds[1]);
}

static void
test_round_trip (Pair *pair, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpMessage) sent = vp_message_new ("claim");
  g_autoptr (VpMessage) received = NULL;
  int ours[2] = { pair->fds[0], pair->fds[1] };
  int fds[2] = { -1, -1 };
  size_t n_fds = 0;
  uint64_t number = 0;

  vp_message_put (sent, "name", "a=b\n\xff c");
  vp_message_put (sent, "empty", "");
  vp_message_put_uint (sent, "size", UINT64_MAX);
  g_assert_true (vp_message_send (sent, pair->fds[0], 0, ours, 2, &error));
  g_assert_no_error (error);
  g_assert_true (
      vp_message_receive (pair->fds[1], 0, 2, fds, &n_fds, &received, &error));
  g_assert_no_error (error);

  g_assert_cmpstr (vp_message_get_type (received), ==, "claim");
  g_assert_cmpstr (vp_message_get (received, "name"), ==, "a=b\n\xff c");
  g_assert_cmpstr (vp_message_get (received, "empty"), ==, "");
  g_assert_null (vp_message_get (received, "nam"));
  g_assert_null (vp_message_get (received, "other"));
  g_assert_true (vp_message_get_uint (received, "size", &number, &error));
  g_assert_cmpuint (number, ==, UINT64_MAX);
  g_assert_cmpuint (n_fds, ==, 2);
  for (size_t i = 0; i < n_fds; i++) {
    g_assert_cmpint (fcntl (fds[i], F_GETFD), ==, FD_CLOEXEC);
    vp_close_fd (&fds[i]);
  }
}

static void
test_end (Pair *pair, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpMessage) received = NULL;

  vp_close_fd (&pair->fds[0]);
  g_assert_true (
      vp_message_receive (pair->fds[1], 0, 0, NULL, NULL, &received, &error));
  g_assert_no_error (error);
  g_assert_null (received);

  g_autoptr (VpMessage) message = vp_message_new ("late");
  g_assert_false (vp_message_send (message, pair->fds[1], 0, NULL, 0, &error));
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_PIPE);
}

/* Descriptors that nobody asked for are refused, and do not stay open. */
static void
test_uninvited_fds (Pair *pair, gconstpointer data)
{
  for (size_t asked = 0; asked < 2; asked++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpMessage) sent = vp_message_new ("gift");
    g_autoptr (VpMessage) received = NULL;
    int pipes[2], kept[2], fds[2];
    char byte;

    g_assert_no_errno (pipe2 (pipes, O_CLOEXEC | O_NONBLOCK));
    kept[0] = kept[1] = pipes[1];
    g_assert_true (vp_message_send (sent, pair->fds[0], 0, kept, 2, &error));
    vp_close_fd (&pipes[1]);
    g_assert_false (vp_message_receive (pair->fds[1], 0, asked, fds, NULL,
                                        &received, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
    /* The end of the pipe shows that no writer is left. */
    g_assert_cmpint (read (pipes[0], &byte, 1), ==, 0);
    vp_close_fd (&pipes[0]);
  }
}

static void
test_too_long (Pair *pair, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VpMessage) message = vp_message_new ("text");
  g_autoptr (VpMessage) received = NULL;
  g_autofree char *much = g_strnfill (VP_MESSAGE_MAX_LEN, 'x');
  size_t len;

  vp_message_put (message, "data", much);
  g_assert_false (vp_message_send (message, pair->fds[0], 0, NULL, 0, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
  g_clear_error (&error);

  const void *bytes = vp_message_get_bytes (message, &len);
  g_assert_cmpint (send (pair->fds[0], bytes, len, 0), ==, (ssize_t) len);
  g_assert_false (
      vp_message_receive (pair->fds[1], 0, 0, NULL, NULL, &received, &error));
  g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
}

#define BYTES(text)                                                            \
  {                                                                            \
    text, sizeof text                                                          \
  }

static void
test_crooked (void)
{
  static const struct {
    const char *bytes;
    size_t len;
  } cases[] = {
    { "", 0 },
    { "type=a", 6 },            /* no NUL at the end */
    BYTES (""),                 /* an empty field */
    BYTES ("type"),             /* no '=' */
    BYTES ("=a"),               /* no key */
    BYTES ("name=a\0type=b"),   /* the type is not first */
    BYTES ("type=a\0type=b"),   /* twice */
    BYTES ("type=a\0x=1\0x=1"), /* twice */
    BYTES ("type=a\0X=1"),      /* not of our letters */
    BYTES ("type=a\0x y=1"),    /* not of our letters */
    BYTES ("type=a\0\0"),       /* an empty field */
    BYTES ("type=a\0abcdefghijklmnopqrstuvwxyzabcdefg=1"), /* 33 letters */
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_assert_null (vp_message_parse (cases[i].bytes, cases[i].len, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
  }

  g_autoptr (GString) many = g_string_new ("type=a");
  g_autoptr (GError) error = NULL;
  g_string_append_c (many, '\0');
  for (int i = 1; i <= VP_MESSAGE_MAX_FIELDS; i++) {
    g_string_append_printf (many, "%c%c=", 'a' + i / 26, 'a' + i % 26);
    g_string_append_c (many, '\0');
    g_autoptr (VpMessage) message =
        vp_message_parse (many->str, many->len, NULL);
    g_assert_true ((message != NULL) == (i < VP_MESSAGE_MAX_FIELDS));
  }
}

static void
test_numbers (void)
{
  static const char *const bad[] = {
    "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"
  };

  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VpMessage) message = vp_message_new ("a");
    uint64_t value = 7;
    vp_message_put (message, "n", bad[i]);
    g_assert_false (vp_message_get_uint (message, "n", &value, &error));
    g_assert_error (error, VP_IMAGE_ERROR, VP_IMAGE_ERROR_FAILED);
    g_assert_cmpuint (value, ==, 7);
    g_assert_false (vp_message_get_uint (message, "absent", &value, NULL));
  }
}

/* Any bytes at all: refused or understood, never more than that. */
static void
test_random (void)
{
  static const char letters[] = "type=ab-\0\0\xff=A\n";
  char buffer[64];

  for (int i = 0; i < 20000; i++) {
    size_t len = (size_t) g_test_rand_int_range (0, sizeof buffer);
    for (size_t j = 0; j < len; j++)
      buffer[j] = letters[g_test_rand_int_range (0, sizeof letters)];
    if (len > 7 && i % 2 == 0)
      memcpy (buffer, "type=a", 7);
    g_autoptr (VpMessage) message = vp_message_parse (buffer, len, NULL);
    if (message != NULL)
      g_assert_nonnull (vp_message_get_type (message));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/message/round-trip", Pair, NULL, set_up, test_round_trip,
              tear_down);
  g_test_add ("/message/end", Pair, NULL, set_up, test_end, tear_down);
  g_test_add ("/message/uninvited-fds", Pair, NULL, set_up, test_uninvited_fds,
              tear_down);
  g_test_add ("/message/too-long", Pair, NULL, set_up, test_too_long,
              tear_down);
  g_test_add_func ("/message/crooked", test_crooked);
  g_test_add_func ("/message/numbers", test_numbers);
  g_test_add_func ("/message/random", test_random);
  return g_test_run ();
}
