// For the prebuilt addon alone (scripts/prebuilds.js includes it before every source): it is linked on a current system and has to load
// with glibc 2.28 (RHEL 8, Debian 10). Symbols that moved from libpthread, librt and libdl into libc in 2.34 are asked for by their old versions.
#pragma once
#include <dlfcn.h>
#include <errno.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define PTALK_BASE "GLIBC_2.2.5"
#define PTALK_MQ "GLIBC_2.3.4"
#elif defined(__aarch64__)
#define PTALK_BASE "GLIBC_2.17"
#define PTALK_MQ "GLIBC_2.17"
#else
#error "prebuilt for x86-64 and arm64 only"
#endif
#define PTALK_OLD(name, version) __asm__(".symver " #name ", " #name "@" version)

PTALK_OLD(dlclose, PTALK_BASE);
PTALK_OLD(dlerror, PTALK_BASE);
PTALK_OLD(dlopen, PTALK_BASE);
PTALK_OLD(dlsym, PTALK_BASE);
PTALK_OLD(mq_open, PTALK_MQ);
PTALK_OLD(mq_close, PTALK_MQ);
PTALK_OLD(mq_getattr, PTALK_MQ);
PTALK_OLD(mq_notify, PTALK_MQ);
PTALK_OLD(mq_receive, PTALK_MQ);
PTALK_OLD(mq_send, PTALK_MQ);
PTALK_OLD(mq_setattr, PTALK_MQ);
PTALK_OLD(mq_timedreceive, PTALK_MQ);
PTALK_OLD(mq_timedsend, PTALK_MQ);
PTALK_OLD(mq_unlink, PTALK_MQ);
PTALK_OLD(pthread_attr_setstacksize, PTALK_BASE);
PTALK_OLD(pthread_create, PTALK_BASE);
PTALK_OLD(pthread_detach, PTALK_BASE);
PTALK_OLD(pthread_join, PTALK_BASE);
PTALK_OLD(pthread_kill, PTALK_BASE);
PTALK_OLD(pthread_once, PTALK_BASE);
PTALK_OLD(pthread_sigmask, PTALK_BASE);
PTALK_OLD(sem_close, PTALK_BASE);
PTALK_OLD(sem_getvalue, PTALK_BASE);
PTALK_OLD(sem_open, PTALK_BASE);
PTALK_OLD(sem_post, PTALK_BASE);
PTALK_OLD(sem_timedwait, PTALK_BASE);
PTALK_OLD(sem_trywait, PTALK_BASE);
PTALK_OLD(sem_unlink, PTALK_BASE);
PTALK_OLD(sem_wait, PTALK_BASE);
PTALK_OLD(shm_open, PTALK_BASE);
PTALK_OLD(shm_unlink, PTALK_BASE);

// Of 2.32, read by libstdc++: false says "use atomic operations".
extern "C" {
__attribute__((visibility("hidden"), weak)) char __libc_single_threaded = 0;
// Of 2.36, for std::random_device, which libstdc++.a brings along and no code uses.
__attribute__((visibility("hidden"), weak)) unsigned arc4random() {
  unsigned value = 0;
  if (syscall(SYS_getrandom, &value, sizeof(value), 0) != sizeof(value)) abort();
  return value;
}
}

// A function of its own since 2.33 only. The kernel's struct is glibc's on both processors.
static inline int PtalkFstat(int fd, struct stat* status) { return static_cast<int>(syscall(SYS_fstat, fd, status)); }
#define fstat(fd, status) PtalkFstat(fd, status)

// Of 2.30. Before that only the wall clock can be waited for: in short slices, each of which a clock that is set may stretch.
static inline int PtalkSemClockwait(sem_t* sem, clockid_t clock, const timespec* deadline) {
  using Clockwait = int (*)(sem_t*, clockid_t, const timespec*);
  static const Clockwait clockwait = reinterpret_cast<Clockwait>(dlsym(RTLD_DEFAULT, "sem_clockwait"));
  if (clockwait != nullptr) return clockwait(sem, clock, deadline);
  constexpr long kSecond = 1000000000;
  constexpr long kSlice = 50000000;
  for (;;) {
    timespec now;
    clock_gettime(clock, &now);
    const long long left = (deadline->tv_sec - now.tv_sec) * static_cast<long long>(kSecond) + deadline->tv_nsec - now.tv_nsec;
    if (left <= 0) {
      if (sem_trywait(sem) == 0) return 0;
      errno = ETIMEDOUT;
      return -1;
    }
    timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += static_cast<long>(left < kSlice ? left : kSlice);
    if (end.tv_nsec >= kSecond) {
      end.tv_sec++;
      end.tv_nsec -= kSecond;
    }
    if (sem_timedwait(sem, &end) == 0) return 0;
    if (errno != ETIMEDOUT) return -1;
  }
}
#define sem_clockwait PtalkSemClockwait
