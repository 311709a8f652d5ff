/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* net-peer: both ends of the traffic in the network tests.
 *
 *   net-peer serve NAME PORT...    tcp and udp; each answers with one line
 *                                  "NAME PORT CLIENT"; prints "ready", and
 *                                  "got PORT TEXT" for each datagram
 *   net-peer hold tcp|udp PORT     waits on a port, answers nothing
 *   net-peer ask tcp|udp HOST PORT [SOURCE-PORT]   prints the answer;
 *                                  status 1: none within the time
 *   net-peer frame LINK MAC SOURCE TARGET PORT TEXT   sends one crafted udp
 *                                  frame out by LINK, past all routing */
#include "config.h"

#include <glib.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 900

static int
bound (int type, unsigned port)
{
  struct sockaddr_in at = { .sin_family = AF_INET,
                            .sin_port = htons ((uint16_t) port) };
  int fd = socket (AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

  if (fd < 0 || setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
      bind (fd, (struct sockaddr *) &at, sizeof at) < 0 ||
      (type == SOCK_STREAM && listen (fd, 64) < 0)) {
    fprintf (stderr, "net-peer: port %u: %s\n", port, g_strerror (errno));
    exit (3);
  }
  return fd;
}

static void
answer_tcp (int fd, const char *name, unsigned port)
{
  struct sockaddr_in from = { 0 };
  socklen_t len = sizeof from;
  int client = accept (fd, (struct sockaddr *) &from, &len);
  char addr[INET_ADDRSTRLEN] = "?", text[128];

  if (client < 0)
    return;
  (void) inet_ntop (AF_INET, &from.sin_addr, addr, sizeof addr);
  (void) g_snprintf (text, sizeof text, "%s %u %s\n", name, port, addr);
  (void) send (client, text, strlen (text), MSG_NOSIGNAL);
  (void) close (client);
}

static void
answer_udp (int fd, const char *name, unsigned port)
{
  struct sockaddr_in from = { 0 };
  socklen_t len = sizeof from;
  char addr[INET_ADDRSTRLEN] = "?", text[128], got[64];
  ssize_t n =
      recvfrom (fd, got, sizeof got - 1, 0, (struct sockaddr *) &from, &len);

  if (n < 0)
    return;
  got[n] = '\0';
  printf ("got %u %s\n", port, got);
  (void) fflush (stdout);
  (void) inet_ntop (AF_INET, &from.sin_addr, addr, sizeof addr);
  (void) g_snprintf (text, sizeof text, "%s %u %s\n", name, port, addr);
  (void) sendto (fd, text, strlen (text), 0, (struct sockaddr *) &from, len);
}

static void
serve (const char *name, char **ports, int n)
{
  g_autofree struct pollfd *fds = g_new0 (struct pollfd, (gsize) n * 2);

  for (int i = 0; i < n * 2; i++) {
    fds[i].fd = bound (i % 2 == 0 ? SOCK_STREAM : SOCK_DGRAM,
                       (unsigned) atoi (ports[i / 2]));
    fds[i].events = POLLIN;
  }
  puts ("ready");
  (void) fflush (stdout);
  while (poll (fds, (nfds_t) n * 2, -1) > 0)
    for (int i = 0; i < n * 2; i++) {
      if (fds[i].revents == 0)
        continue;
      if (i % 2 == 0)
        answer_tcp (fds[i].fd, name, (unsigned) atoi (ports[i / 2]));
      else
        answer_udp (fds[i].fd, name, (unsigned) atoi (ports[i / 2]));
    }
}

static int
ask (int type, const char *host, unsigned port, unsigned source)
{
  struct sockaddr_in to = { .sin_family = AF_INET,
                            .sin_port = htons ((uint16_t) port) };
  struct timeval limit = { .tv_sec = TIMEOUT_MS / 1000,
                           .tv_usec = TIMEOUT_MS % 1000 * 1000 };
  int fd = source != 0 ? bound (SOCK_DGRAM, source)
                       : socket (AF_INET, type | SOCK_CLOEXEC, 0);
  char text[256];
  ssize_t n;

  if (fd < 0 || inet_pton (AF_INET, host, &to.sin_addr) != 1 ||
      setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
      setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
    return 2;
  if (connect (fd, (struct sockaddr *) &to, sizeof to) < 0)
    return 1;
  if (type == SOCK_DGRAM && send (fd, "ask", 3, 0) < 0)
    return 1;
  n = recv (fd, text, sizeof text - 1, 0);
  if (n <= 0)
    return 1;
  text[n] = '\0';
  (void) fputs (text, stdout);
  return 0;
}

static uint16_t
ip_checksum (const void *data, size_t len)
{
  const uint8_t *bytes = data;
  uint32_t sum = 0;

  for (size_t i = 0; i + 1 < len; i += 2)
    sum += ((uint32_t) bytes[i] << 8) | bytes[i + 1];
  while (sum >> 16)
    sum = (sum & 0xffff) + (sum >> 16);
  return htons ((uint16_t) ~sum);
}

static int
frame (const char *link, const char *mac, const char *source,
       const char *target, unsigned port, const char *text)
{
  struct sockaddr_ll to = { .sll_family = AF_PACKET,
                            .sll_protocol = htons (ETH_P_IP),
                            .sll_ifindex = (int) if_nametoindex (link),
                            .sll_halen = 6 };
  struct {
    struct iphdr ip;
    struct udphdr udp;
    char text[32];
  } packet = { 0 };
  size_t len = sizeof packet.ip + sizeof packet.udp + strlen (text);
  int fd = socket (AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons (ETH_P_IP));
  unsigned b[6];

  if (sscanf (mac, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4],
              &b[5]) != 6)
    return 2;
  for (unsigned i = 0; i < 6; i++)
    to.sll_addr[i] = (uint8_t) b[i];
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_UDP;
  packet.ip.tot_len = htons ((uint16_t) len);
  if (inet_pton (AF_INET, source, &packet.ip.saddr) != 1 ||
      inet_pton (AF_INET, target, &packet.ip.daddr) != 1)
    return 2;
  packet.ip.check = ip_checksum (&packet.ip, sizeof packet.ip);
  packet.udp.source = htons (4242);
  packet.udp.dest = htons ((uint16_t) port);
  packet.udp.len = htons ((uint16_t) (sizeof packet.udp + strlen (text)));
  (void) g_strlcpy (packet.text, text, sizeof packet.text);
  if (fd < 0 ||
      sendto (fd, &packet, len, 0, (struct sockaddr *) &to, sizeof to) < 0) {
    fprintf (stderr, "net-peer: frame: %s\n", g_strerror (errno));
    return 1;
  }
  return 0;
}

int
main (int argc, char **argv)
{
  bool udp = argc > 2 && strcmp (argv[2], "udp") == 0;
  int type = udp ? SOCK_DGRAM : SOCK_STREAM;

  if (argc >= 4 && strcmp (argv[1], "serve") == 0)
    serve (argv[2], argv + 3, argc - 3);
  else if (argc == 4 && strcmp (argv[1], "hold") == 0) {
    (void) bound (type, (unsigned) atoi (argv[3]));
    puts ("ready");
    (void) fflush (stdout);
    (void) pause ();
  } else if (argc >= 5 && strcmp (argv[1], "ask") == 0)
    return ask (type, argv[3], (unsigned) atoi (argv[4]),
                argc > 5 ? (unsigned) atoi (argv[5]) : 0);
  else if (argc == 8 && strcmp (argv[1], "frame") == 0)
    return frame (argv[2], argv[3], argv[4], argv[5], (unsigned) atoi (argv[6]),
                  argv[7]);
  return 2;
}
