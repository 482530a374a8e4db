#include "order.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ptalk {

namespace {

// Marks the request, with the process's own pid. Negative, as the kernel demands of codes made by programs.
constexpr int kRequest = -7077;
// A thread that is stopped or starved must not hold up the claim; DiscardPending deals with the rest.
constexpr int kPatienceUs = 50'000, kPollUs = 50;

std::atomic<int> unanswered{0};

pid_t ThreadId() { return static_cast<pid_t>(syscall(SYS_gettid)); }

bool Blocks(pid_t thread, int signo) {
  char text[4096];
  snprintf(text, sizeof text, "/proc/self/task/%d/status", thread);
  const int fd = open(text, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;  // it has ended
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  text[length < 0 ? 0 : length] = '\0';
  const char* field = strstr(text, "\nSigBlk:");
  return field != nullptr && (strtoull(field + strlen("\nSigBlk:"), nullptr, 16) >> (signo - 1) & 1) != 0;
}

}  // namespace

void DeliverToMainThreadOnly(int signo) {
  const pid_t process = getpid();
  DIR* threads = opendir("/proc/self/task");
  if (threads == nullptr) return;  // no /proc: order is then as the kernel happens to spread the signals
  while (const dirent* entry = readdir(threads)) {
    const pid_t thread = atoi(entry->d_name);
    if (thread <= 0 || thread == process || Blocks(thread, signo)) continue;
    siginfo_t info = {};
    info.si_signo = signo;
    info.si_code = kRequest;
    info.si_pid = process;
    info.si_uid = getuid();
    unanswered.fetch_add(1);
    if (syscall(SYS_rt_tgsigqueueinfo, process, thread, signo, &info) < 0) unanswered.fetch_sub(1);
  }
  closedir(threads);
  for (int us = 0; us < kPatienceUs && unanswered.load() > 0; us += kPollUs) usleep(kPollUs);
  unanswered.store(0);
}

bool BlockOnThisThread(int signo, const siginfo_t* info, void* context) {
  const pid_t process = getpid();
  if (ThreadId() == process) return false;
  // The mask that returning from the handler restores.
  sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, signo);
  if (info->si_code != kRequest || info->si_pid != process) return false;
  unanswered.fetch_sub(1);
  return true;
}

void DiscardPending(int signo) {
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  sigaction(signo, &ignore, nullptr);  // POSIX: setting SIG_IGN discards what is pending, blocked or not
}

}  // namespace ptalk
