// The same work in C, for bench/ipc.bench.js. `ipc pairs COUNT` prints nanoseconds for one sem_wait + sem_post on a named
// semaphore; `ipc signals COUNT` prints nanoseconds for one round trip of a queued signal between two processes whose
// handlers write to a pipe that their loops poll: what any program with an event loop must do. `ipc trips COUNT`: of one byte there and
// back over a Unix socket. `ipc messages COUNT SIZE`: of one message of SIZE bytes by a Unix socket, a length before each.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1e9 + at.tv_nsec;
}

static int pairs(long count) {
  char name[64];
  snprintf(name, sizeof name, "/ptalk-bench-c-%d", getpid());
  sem_t* sem = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
  if (sem == SEM_FAILED) return 1;
  sem_unlink(name);
  const double start = now();
  for (long i = 0; i < count; i++) {
    sem_wait(sem);
    sem_post(sem);
  }
  printf("%.3f\n", (now() - start) / count);
  return 0;
}

static int ends[2];  // this process's own pipe, made before anyone can signal it

static void on_signal(int signo, siginfo_t* info, void* context) {
  (void)signo, (void)context;
  const int record[2] = {info->si_pid, info->si_value.sival_int};
  if (write(ends[1], record, sizeof record) < 0) _exit(2);
}

// The next signal's value, from the loop.
static int next(void) {
  int record[2];
  struct pollfd readable = {ends[0], POLLIN, 0};
  while (poll(&readable, 1, -1) < 0 || read(ends[0], record, sizeof record) < 0) {
  }
  return record[1];
}

static int signals(long count) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGRTMIN + 1, &action, NULL);
  int parents[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(parents, O_CLOEXEC | O_NONBLOCK) < 0) return 1;
  const pid_t parent = getpid(), child = fork();
  if (child == 0) {
    for (;;) sigqueue(parent, SIGRTMIN + 1, (union sigval){.sival_int = next()});
  }
  memcpy(ends, parents, sizeof ends);  // nobody signals us before we signal the child
  double start = 0;
  for (long i = -1; i < count; i++) {
    if (i == 0) start = now();  // once the child has answered: it runs
    sigqueue(child, SIGRTMIN + 1, (union sigval){.sival_int = (int)i});
    next();
  }
  printf("%.3f\n", (now() - start) / count);
  kill(child, SIGKILL);
  return waitpid(child, NULL, 0) == child ? 0 : 1;
}

static int trips(long count) {
  int sides[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sides) < 0) return 1;
  const pid_t child = fork();
  char byte = 'x';
  if (child == 0) {
    while (read(sides[1], &byte, 1) == 1 && write(sides[1], &byte, 1) == 1) {
    }
    _exit(0);
  }
  double start = 0;
  for (long i = -1; i < count; i++) {
    if (i == 0) start = now();
    if (write(sides[0], &byte, 1) != 1 || read(sides[0], &byte, 1) != 1) return 1;
  }
  printf("%.3f\n", (now() - start) / count);
  kill(child, SIGKILL);
  return waitpid(child, NULL, 0) == child ? 0 : 1;
}

static int read_all(int fd, char* bytes, size_t length) {
  for (size_t got = 0; got < length;) {
    const ssize_t part = read(fd, bytes + got, length - got);
    if (part <= 0) return -1;
    got += part;
  }
  return 0;
}

static int messages(long count, unsigned size) {
  int sides[2];
  char* frame = calloc(1, sizeof size + size);
  if (frame == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sides) < 0) return 1;
  const pid_t child = fork();
  if (child == 0) {
    memcpy(frame, &size, sizeof size);
    for (long i = -1; i < count; i++)
      if (write(sides[1], frame, sizeof size + size) != (ssize_t)(sizeof size + size)) _exit(1);
    _exit(0);
  }
  double start = 0;
  for (long i = -1; i < count; i++) {
    if (i == 0) start = now();
    unsigned length;
    if (read_all(sides[0], (char*)&length, sizeof length) < 0 || length > size) return 1;
    if (read_all(sides[0], frame, length) < 0) return 1;
  }
  printf("%.3f\n", (now() - start) / count);
  return waitpid(child, NULL, 0) == child ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const long count = atol(argv[2]);
  if (strcmp(argv[1], "pairs") == 0) return pairs(count);
  if (strcmp(argv[1], "signals") == 0) return signals(count);
  if (strcmp(argv[1], "trips") == 0) return trips(count);
  return argc == 4 && strcmp(argv[1], "messages") == 0 ? messages(count, atoi(argv[3])) : 64;
}
