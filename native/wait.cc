// Waiting for a semaphore: blocking here and now, or (to come) on a thread of its own.
#include <cerrno>

#include "sem.h"

namespace ptalk {

// A call into JavaScript fails once the environment is being ended, and that is the only way to learn it.
static bool IsEnding(Napi::Env env) {
  Napi::HandleScope scope(env);
  napi_value result;
  return napi_run_script(env, Napi::String::New(env, "0"), &result) != napi_ok;
}

Napi::Value BlockingWait(Napi::Env env, std::shared_ptr<NamedSemaphore> semaphore, const char* syscall, double milliseconds) {
  const bool limited = milliseconds >= 0;
  const timespec deadline = MonotonicIn(limited ? milliseconds : 0);
  for (;;) {
    timespec slice = MonotonicIn(kSliceMs);
    if (limited && Earlier(deadline, slice)) slice = deadline;
    if (WaitUntil(semaphore->sem, slice)) return Napi::Boolean::New(env, true);
    if (errno != ETIMEDOUT) return Fail(env, syscall);
    if (limited && !Earlier(MonotonicIn(0), deadline)) return Napi::Boolean::New(env, false);
    if (IsEnding(env)) return Napi::Value();
  }
}

}  // namespace ptalk
