// Who a process is beyond its number, which the kernel gives out again: proc(5), /proc/PID/stat.
#include <fcntl.h>
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

void AddProcesses(Napi::Env env, Napi::Object exports) { Add(env, exports, "processStart", ProcessStart); }

}  // namespace ptalk
