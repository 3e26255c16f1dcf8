// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0
/* The two fixed ends of the peer benchmark, kept tiny so that they are never what is measured.
 *   floor upstream PORT BODY_BYTES   HTTP/1.1 keep-alive server: one fixed 200 answer for each request head without a body;
 *                                    a head that asks for WebSocket gets 101, and its bytes come back from then on
 *   floor relay    PORT UPSTREAM     byte relay without a parser: the least that any loopback proxy must do
 * One thread, one epoll, 127.0.0.1 only. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAXFD 65536
static int other_end[MAXFD];        /* relay */
static unsigned char crlf[MAXFD];   /* upstream: how much of CR LF CR LF has been seen */
static unsigned char echo[MAXFD];   /* upstream: the connection became a WebSocket */
static char buf[65536];

/* The answer to the key of RFC 6455's example, which is the only one that the load sends. */
static const char SWITCH[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static struct sockaddr_in local(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

static void nodelay(int fd) { setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); }

static void watch(int ep, int fd) {
  struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void drop(int fd) {
  int other = other_end[fd];
  other_end[fd] = 0;
  close(fd);
  if (other) {
    other_end[other] = 0;
    close(other);
  }
}

/* Writes all; waits for room where a large answer fills the socket. */
static int put(int fd, const char *bytes, size_t left) {
  while (left) {
    ssize_t n = send(fd, bytes, left, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
      struct pollfd p = {.fd = fd, .events = POLLOUT};
      if (poll(&p, 1, 10000) <= 0) return -1;
      continue;
    }
    if (n <= 0) return -1;
    bytes += n;
    left -= n;
  }
  return 0;
}

static void accepted(int ep, int ls, const struct sockaddr_in *up, int relay) {
  int c = accept(ls, 0, 0);
  if (c < 0) return;
  if (c >= MAXFD - 1) {
    close(c);
    return;
  }
  nodelay(c);
  crlf[c] = echo[c] = 0;
  other_end[c] = 0;
  if (relay) {
    int u = socket(AF_INET, SOCK_STREAM, 0);
    if (u < 0 || u >= MAXFD || connect(u, (const void *)up, sizeof *up)) {
      close(c);
      if (u >= 0) close(u);
      return;
    }
    nodelay(u);
    other_end[c] = u;
    other_end[u] = c;
    watch(ep, u);
  }
  watch(ep, c);
}

static int answer(int fd, const char *full, size_t length, ssize_t got) {
  if (echo[fd]) return put(fd, buf, got);
  if (memmem(buf, got, "websocket", 9)) {
    echo[fd] = 1;
    return put(fd, SWITCH, sizeof SWITCH - 1);
  }
  int requests = 0;
  for (ssize_t k = 0; k < got; k++) {
    crlf[fd] = buf[k] == ((crlf[fd] & 1) ? '\n' : '\r') ? crlf[fd] + 1 : buf[k] == '\r';
    if (crlf[fd] == 4) {
      crlf[fd] = 0;
      requests++;
    }
  }
  while (requests--)
    if (put(fd, full, length)) return -1;
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  int relay = !strcmp(argv[1], "relay"), port = atoi(argv[2]), arg = atoi(argv[3]);
  char *full = malloc(arg + 256);
  int head = sprintf(full, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", arg);
  memset(full + head, 'x', arg);

  int ls = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  struct sockaddr_in a = local(port), up = local(arg);
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) {
    perror("listen");
    return 1;
  }
  watch(ep, ls);
  for (struct epoll_event ev[256];;) {
    int n = epoll_wait(ep, ev, 256, -1);
    for (int i = 0; i < n; i++) {
      int fd = ev[i].data.fd;
      if (fd == ls) {
        accepted(ep, ls, &up, relay);
        continue;
      }
      if (relay && !other_end[fd]) continue; /* closed earlier in this batch */
      ssize_t got = read(fd, buf, sizeof buf);
      if (got <= 0 || (relay ? put(other_end[fd], buf, got) : answer(fd, full, head + arg, got))) drop(fd);
    }
  }
}
