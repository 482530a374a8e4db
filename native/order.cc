#include "order.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdlib>

namespace ptalk {

namespace {

// Marks the request, with the process's own pid. Negative, as the kernel demands of codes made by programs.
constexpr int kRequest = -7077;

pid_t ThreadId() { return static_cast<pid_t>(syscall(SYS_gettid)); }

}  // namespace

void LeaveToMainThread(int signo) {
  const pid_t process = getpid();
  DIR* threads = opendir("/proc/self/task");
  if (threads == nullptr) return;  // no /proc: order is then as the kernel happens to spread the signals
  while (const dirent* entry = readdir(threads)) {
    const pid_t thread = atoi(entry->d_name);
    if (thread <= 0 || thread == process) continue;
    siginfo_t info = {};
    info.si_signo = signo;
    info.si_code = kRequest;
    info.si_pid = process;
    info.si_uid = getuid();
    // One that has ended meanwhile needs no asking.
    syscall(SYS_rt_tgsigqueueinfo, process, thread, signo, &info);
  }
  closedir(threads);
}

bool BlockHere(int signo, const siginfo_t* info, void* context) {
  const pid_t process = getpid();
  if (ThreadId() == process) return false;
  // The mask that returning from the handler restores.
  sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, signo);
  return info->si_code == kRequest && info->si_pid == process;
}

}  // namespace ptalk
