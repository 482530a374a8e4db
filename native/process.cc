// Who a process is beyond its number, which the kernel gives out again: proc(5), /proc/PID/stat; pidfd_open(2) and what it tells.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "environment.h"

namespace ptalk {

// {startTime, state, threads}, or null when there is no such process (or /proc hides it).
static Napi::Value ProcessStart(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  char text[1024];
  snprintf(text, sizeof text, "/proc/%d/stat", Int(info, 0));
  const int fd = open(text, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT || errno == ESRCH ? env.Null() : ThrowErrno(env, "open", text);
  const ssize_t length = read(fd, text, sizeof text - 1);
  const int error = errno;
  close(fd);
  if (length <= 0) return length == 0 || error == ESRCH ? env.Null() : ThrowErrno(env, "read", "", error);
  text[length] = '\0';
  // The second field is the command in parentheses, which may contain anything, parentheses included.
  const char* fields = strrchr(text, ')');
  char state = 0;
  long threads = 0;
  unsigned long long start = 0;
  // state(3), then 16 fields, num_threads(20), itrealvalue(21), starttime(22)
  const char* format = ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %llu";
  if (fields == nullptr || sscanf(fields, format, &state, &threads, &start) != 3) return ThrowErrno(env, "read", "", EPROTO);
  Napi::Object result = Napi::Object::New(env);
  result.Set("startTime", static_cast<double>(start));
  result.Set("state", Napi::String::New(env, &state, 1));
  result.Set("threads", static_cast<double>(threads));
  return result;
}

// A descriptor that becomes readable when the process ends; closeFd closes it.
static Napi::Value PidfdOpen(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, Int(info, 0), 0));
  if (fd < 0) return ThrowErrno(info.Env(), "pidfd_open");
  EnvironmentOf(info.Env()).descriptors.insert(fd);
  return Napi::Number::New(info.Env(), fd);
}

// PIDFD_GET_INFO of linux/pidfd.h: Linux 6.13, and the exit status from 6.15 on.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup;
  uint32_t ids[11];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64, "PIDFD_INFO_SIZE_VER0");
constexpr uint64_t kPidfdInfoExit = 1 << 3;

// What waitpid(2) would say of the process: its status word; -1 while its parent has not asked for it; -2 where the kernel does not tell.
static Napi::Value PidfdStatus(const Napi::CallbackInfo& info) {
  PidfdInfo asked = {};
  asked.mask = kPidfdInfoExit;
  int status = -2;
  if (ioctl(Int(info, 0), _IOWR(0xFF, 11, PidfdInfo), &asked) == 0)
    status = (asked.mask & kPidfdInfoExit) != 0 ? asked.exit_code : -1;
  return Napi::Number::New(info.Env(), status);
}

void AddProcesses(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "processStart", ProcessStart);
  Add(env, exports, "pidfdOpen", PidfdOpen);
  Add(env, exports, "pidfdStatus", PidfdStatus);
}

}  // namespace ptalk
