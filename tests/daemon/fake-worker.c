/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fake-worker: a worker that misbehaves in the way that the image's name asks
 * for.  Started by test-worker in place of vprov-img. */
#include "config.h"

#include "storage/message.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void
say (const char *bytes, size_t len)
{
  if (send (VP_MESSAGE_SOCKET_FD, bytes, len, MSG_NOSIGNAL) < 0)
    _exit (9);
}

#define SAY(text) say (text, sizeof text)

static void
wait_for_ever (void)
{
  for (;;)
    pause ();
}

static void
claim_without_end (void)
{
  for (;;) {
    g_autoptr (VpMessage) answer = NULL;
    SAY ("type=claim\0kind=backing\0name=x\0format=raw");
    if (!vp_message_receive (VP_MESSAGE_SOCKET_FD, 0, 0, NULL, NULL, &answer,
                             NULL) ||
        answer == NULL)
      _exit (8);
  }
}

static void
flood (void)
{
  g_autofree char *much = g_strnfill (30000, 'x');

  for (;;) {
    g_autoptr (VpMessage) text = vp_message_new ("text");
    vp_message_put (text, "data", much);
    if (!vp_message_send (text, VP_MESSAGE_SOCKET_FD, 0, NULL, 0, NULL))
      _exit (8);
  }
}

/* What a worker finds round it, as the text of an error. */
static void
look_round (void)
{
  g_autoptr (VpMessage) result = vp_message_new ("result");
  g_autoptr (GString) seen = g_string_new (NULL);
  extern char **environ;

  for (char **p = environ; *p != NULL; p++)
    if (strstr (*p, "SAN_OPTIONS") == NULL)
      g_string_append_printf (seen, "%s ", *p);
  g_string_append_printf (seen, "uid=%u gid=%u groups=%d ", geteuid (),
                          getegid (), getgroups (0, NULL));
  g_string_append_printf (
      seen, "nnp=%d fds=", prctl (PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  for (int fd = 0; fd < 1024; fd++)
    if (fcntl (fd, F_GETFD) >= 0)
      g_string_append_printf (seen, "%d,", fd);
  vp_message_put (result, "status", "error");
  vp_message_put (result, "domain", "image");
  vp_message_put (result, "code", "0");
  vp_message_put (result, "message", seen->str);
  if (!vp_message_send (result, VP_MESSAGE_SOCKET_FD, 0, NULL, 0, NULL))
    _exit (9);
}

static void
say_full (void)
{
  g_autoptr (VpMessage) result = vp_message_new ("result");

  vp_message_put (result, "status", "error");
  vp_message_put (result, "domain", "file");
  vp_message_put_uint (result, "code", G_FILE_ERROR_NOSPC);
  vp_message_put (result, "message", "no room");
  if (!vp_message_send (result, VP_MESSAGE_SOCKET_FD, 0, NULL, 0, NULL))
    _exit (9);
}

static void
give_descriptor (void)
{
  g_autoptr (VpMessage) message = vp_message_new ("progress");
  int fd = 0;

  vp_message_put_uint (message, "done", 1);
  vp_message_put_uint (message, "total", 2);
  if (!vp_message_send (message, VP_MESSAGE_SOCKET_FD, 0, &fd, 1, NULL))
    _exit (9);
  wait_for_ever ();
}

static void
die (int number)
{
  const struct rlimit none = { 0, 0 };

  (void) setrlimit (RLIMIT_CORE, &none);
  (void) signal (number, SIG_DFL);
  (void) raise (number);
}

static void
misbehave (const char *how)
{
  if (strcmp (how, "exit") == 0)
    _exit (3);
  else if (strcmp (how, "leave") == 0)
    _exit (0);
  else if (strcmp (how, "segv") == 0)
    die (SIGSEGV);
  else if (strcmp (how, "sys") == 0)
    die (SIGSYS);
  else if (strcmp (how, "last-words") == 0) {
    (void) !write (2, "cannot\nallocate\x1b[1m\xff", 20);
    die (SIGABRT);
  } else if (strcmp (how, "silent") == 0)
    wait_for_ever ();
  else if (strcmp (how, "close-and-stay") == 0) {
    (void) close (VP_MESSAGE_SOCKET_FD);
    (void) close (2);
    wait_for_ever ();
  } else if (strcmp (how, "garbage") == 0) {
    SAY ("\x01\x02garbage");
    wait_for_ever ();
  } else if (strcmp (how, "unknown") == 0) {
    SAY ("type=dance");
    wait_for_ever ();
  } else if (strcmp (how, "odd-result") == 0)
    SAY ("type=result\0status=error\0domain=image\0code=999\0"
         "message=\x1b[31mred\nline");
  else if (strcmp (how, "full") == 0)
    say_full ();
  else if (strcmp (how, "no-size") == 0)
    SAY ("type=result\0status=ok\0virtual-size=many");
  else if (strcmp (how, "odd-progress") == 0) {
    SAY ("type=progress\0done=5\0total=-1");
    wait_for_ever ();
  } else if (strcmp (how, "greedy-progress") == 0) {
    SAY ("type=progress\0done=500\0total=100");
    SAY ("type=result\0status=ok");
  } else if (strcmp (how, "odd-claim") == 0) {
    SAY ("type=claim\0kind=backing\0name=../../etc/shadow\0format=raw");
    wait_for_ever ();
  } else if (strcmp (how, "claims") == 0)
    claim_without_end ();
  else if (strcmp (how, "flood") == 0)
    flood ();
  else if (strcmp (how, "round") == 0)
    look_round ();
  else if (strcmp (how, "gift") == 0)
    give_descriptor ();
}

int
main (int argc, char **argv)
{
  g_autoptr (VpMessage) request = NULL;
  int fds[VP_MESSAGE_MAX_FDS];
  size_t n_fds = 0;

  if (argc != 2 || strcmp (argv[1], "worker") != 0 ||
      !vp_message_receive (VP_MESSAGE_SOCKET_FD, 0, VP_MESSAGE_MAX_FDS, fds,
                           &n_fds, &request, NULL) ||
      request == NULL || n_fds == 0)
    return 7;
  misbehave (vp_message_get (request, "name"));
  return 0;
}
