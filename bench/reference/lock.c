// What a readers-writers lock costs in C without surviving a crash:
//   lock rwlock|classical read|write SECONDS PROCESSES    prints sections per second of all processes together
// rwlock: pthread_rwlock_t, PTHREAD_PROCESS_SHARED. classical: the algorithm of docs/LOCK.md on two semaphores and a count,
// without ledger, epochs and courtesy. A section does nothing.
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 1000
#define PROCESSES_MAX 64

struct shared {
  pthread_rwlock_t rwlock;
  _Alignas(64) sem_t queue;
  _Alignas(64) sem_t room;
  _Alignas(64) atomic_int readers;
  _Alignas(64) long sections[PROCESSES_MAX];
};

static struct shared *s;

static void rwlock_section(int writing) {
  if (writing) pthread_rwlock_wrlock(&s->rwlock);
  else pthread_rwlock_rdlock(&s->rwlock);
  pthread_rwlock_unlock(&s->rwlock);
}

static void classical_section(int writing) {
  sem_wait(&s->queue);
  if (writing || atomic_fetch_add(&s->readers, 1) == 0) sem_wait(&s->room);
  if (!writing) sem_post(&s->queue);
  if (writing || atomic_fetch_sub(&s->readers, 1) == 1) sem_post(&s->room);
  if (writing) sem_post(&s->queue);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 5) return 64;
  void (*section)(int) = strcmp(argv[1], "rwlock") == 0 ? rwlock_section : classical_section;
  int writing = strcmp(argv[2], "write") == 0;
  double seconds = atof(argv[3]);
  int processes = atoi(argv[4]);
  if (processes < 1 || processes > PROCESSES_MAX) return 64;
  s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (s == MAP_FAILED) return 71;
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_rwlock_init(&s->rwlock, &attributes);
  sem_init(&s->queue, 1, 1);
  sem_init(&s->room, 1, 1);
  double start = now();
  for (int p = 0; p < processes; p++) {
    if (fork() != 0) continue;
    long sections = 0;
    while (now() - start < seconds) {
      for (int i = 0; i < BATCH; i++) section(writing);
      sections += BATCH;
    }
    s->sections[p] = sections;
    _exit(0);
  }
  while (wait(NULL) > 0) {
  }
  double elapsed = now() - start;
  long total = 0;
  for (int p = 0; p < processes; p++) total += s->sections[p];
  printf("%.0f\n", total / elapsed);
  return 0;
}
