// A load generator that only counts bytes, so that the server is what is measured; redis-benchmark takes replies of many elements
// apart for longer than any server needs to make them.
//   load PORT CONNECTIONS PIPELINE REQUESTS REQUEST     prints requests per second
// REQUEST is one inline request; its reply must have the same length each time.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define CHUNK (64 * 1024)

static char chunk[CHUNK];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int connected(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static int send_all(int fd, const char *bytes, long length) {
  for (long sent = 0; sent < length;) {
    ssize_t n = write(fd, bytes + sent, length - sent);
    if (n <= 0) return -1;
    sent += n;
  }
  return 0;
}

/* The length of one reply: what comes until nothing has come for a tenth of a second. */
static long reply_length(int port, const char *request, int length) {
  int fd = connected(port);
  struct timeval patience = {.tv_usec = 100000};
  long received = 0;
  ssize_t n;
  if (fd < 0 || send_all(fd, request, length) < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  while ((n = read(fd, chunk, CHUNK)) > 0) received += n;
  close(fd);
  return received;
}

int main(int argc, char **argv) {
  if (argc != 6) return 64;
  int port = atoi(argv[1]), connections = atoi(argv[2]), pipeline = atoi(argv[3]);
  long requests = atol(argv[4]);
  char request[256];
  int length = snprintf(request, sizeof request, "%s\r\n", argv[5]);
  if (connections < 1 || connections > CONNECTIONS_MAX || pipeline < 1 || length >= (int)sizeof request) return 64;
  long reply = reply_length(port, request, length);
  if (reply <= 0) return 69;
  char *batch = malloc((size_t)length * pipeline);
  for (int i = 0; i < pipeline; i++) memcpy(batch + (size_t)i * length, request, length);
  long expected[CONNECTIONS_MAX];
  int fds[CONNECTIONS_MAX], loop = epoll_create1(0);
  double started = now();
  for (int i = 0; i < connections; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    if ((fds[i] = connected(port)) < 0) return 69;
    epoll_ctl(loop, EPOLL_CTL_ADD, fds[i], &event);
    expected[i] = reply * pipeline;
    if (send_all(fds[i], batch, (long)length * pipeline) < 0) return 69;
  }
  for (long done = 0; done < requests;) {
    struct epoll_event events[CONNECTIONS_MAX];
    int ready = epoll_wait(loop, events, CONNECTIONS_MAX, 10000);
    if (ready <= 0) return 69;
    for (int e = 0; e < ready; e++) {
      int i = events[e].data.u32;
      ssize_t n = read(fds[i], chunk, CHUNK);
      if (n <= 0) return 69;
      if ((expected[i] -= n) > 0) continue;
      done += pipeline;
      expected[i] = reply * pipeline;
      if (send_all(fds[i], batch, (long)length * pipeline) < 0) return 69;
    }
  }
  printf("%.0f\n", requests / (now() - started));
  return 0;
}
