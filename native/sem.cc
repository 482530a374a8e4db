// Named semaphores for JavaScript: sem_open(3), sem_wait(3), sem_post(3), sem_getvalue(3). The waits that do not
// block the thread are in wait.cc.
#include "sem.h"

#include <fcntl.h>

#include <cerrno>

#include "guard.h"

namespace ptalk {

NamedSemaphore::NamedSemaphore(sem_t* sem) : sem(sem), slot(Guard(sem, sizeof(sem_t), true, this)) {}

NamedSemaphore::~NamedSemaphore() {
  if (slot >= 0) Unguard(slot);
  sem_close(sem);
}

bool WaitUntil(sem_t* sem, const timespec& deadline) {
  int result;
  do {
#if __GLIBC_PREREQ(2, 30)
    result = sem_clockwait(sem, CLOCK_MONOTONIC, &deadline);
#else
#error "sem_clockwait needs glibc 2.30"
#endif
  } while (result < 0 && errno == EINTR);
  return result == 0;
}

timespec MonotonicIn(double milliseconds) {
  // A century of waiting is for ever, and keeps the arithmetic from overflowing.
  constexpr double kLongest = 100.0 * 365 * 24 * 3600 * 1000;
  if (!(milliseconds > 0)) milliseconds = 0;
  if (milliseconds > kLongest) milliseconds = kLongest;
  timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  const int64_t nanoseconds = static_cast<int64_t>(milliseconds * 1e6) + at.tv_nsec;
  at.tv_sec += nanoseconds / 1000000000;
  at.tv_nsec = nanoseconds % 1000000000;
  return at;
}

bool Earlier(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static Napi::Value SemOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Environment& mine = EnvironmentOf(env);
  const std::string name = Text(info, 0);
  sem_t* sem;
  do {
    sem = sem_open(name.c_str(), Int(info, 1), static_cast<mode_t>(Int(info, 2)),
                   static_cast<unsigned>(Int64(info, 3)));
  } while (sem == SEM_FAILED && errno == EINTR);
  if (sem == SEM_FAILED) return ThrowErrno(env, "sem_open", name);
  auto semaphore = std::make_shared<NamedSemaphore>(sem);
  if (semaphore->slot < 0) {
    if ((Int(info, 1) & O_EXCL) != 0) sem_unlink(name.c_str());  // made by this very call
    return ThrowErrno(env, "sem_open", name, ENOMEM);
  }
  if (mine.free_handles.empty()) {
    mine.semaphores.push_back(std::move(semaphore));
    return Napi::Number::New(env, static_cast<double>(mine.semaphores.size() - 1));
  }
  const int32_t handle = mine.free_handles.back();
  mine.free_handles.pop_back();
  mine.semaphores[handle] = std::move(semaphore);
  return Napi::Number::New(env, handle);
}

static Napi::Value SemUnlink(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  if (sem_unlink(name.c_str()) < 0) return ThrowErrno(info.Env(), "sem_unlink", name);
  return info.Env().Undefined();
}

static Napi::Value SemClose(const Napi::CallbackInfo& info) {
  Environment& mine = EnvironmentOf(info.Env());
  const int32_t handle = Int(info, 0);
  if (mine.Find(handle) == nullptr) return ThrowErrno(info.Env(), "sem_close", "", EINVAL);
  mine.semaphores[handle].reset();
  mine.free_handles.push_back(handle);
  return info.Env().Undefined();
}

// A call into JavaScript fails once the environment is being ended, and that is the only way to learn it.
static bool IsEnding(Napi::Env env) {
  Napi::HandleScope scope(env);
  napi_value result;
  return napi_run_script(env, Napi::String::New(env, "0"), &result) != napi_ok;
}

// Blocks this thread of Node, in slices so that worker.terminate() or process.exit() elsewhere can end it. Milliseconds
// below 0 wait without limit. True, or false on timeout. The reference keeps the semaphore while we wait.
static Napi::Value BlockingWait(Napi::Env env, std::shared_ptr<NamedSemaphore> semaphore, const char* syscall, double ms) {
  const bool limited = ms >= 0;
  const timespec deadline = MonotonicIn(ms);
  for (;;) {
    timespec slice = MonotonicIn(kSliceMs);
    if (limited && Earlier(deadline, slice)) slice = deadline;
    if (WaitUntil(semaphore->sem, slice)) return Napi::Boolean::New(env, true);
    if (errno != ETIMEDOUT) return ThrowErrno(env, syscall);
    if (limited && !Earlier(MonotonicIn(0), deadline)) return Napi::Boolean::New(env, false);
    if (IsEnding(env)) return Napi::Value();
  }
}

static Napi::Value SemTimedWait(const Napi::CallbackInfo& info) {
  const auto* semaphore = EnvironmentOf(info.Env()).Find(Int(info, 0));
  if (semaphore == nullptr) return ThrowErrno(info.Env(), "sem_timedwait", "", EINVAL);
  return BlockingWait(info.Env(), *semaphore, "sem_timedwait", Double(info, 1));
}

// The hot calls. Each works on the handle that JavaScript has put into the environment's `hot_handle`: reading it from an
// argument through Node-API took 7 of 24 ns.
static const std::shared_ptr<NamedSemaphore>* Selected(napi_env env, napi_callback_info info, const char* syscall) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  const Environment* mine = static_cast<Environment*>(data);
  const auto* found = mine->Find(*mine->hot_handle);
  if (found == nullptr) ThrowErrno(env, syscall, "", EINVAL);
  return found;
}

static napi_value SemPost(napi_env env, napi_callback_info info) {
  const auto* semaphore = Selected(env, info, "sem_post");
  if (semaphore != nullptr && sem_post((*semaphore)->sem) < 0) ThrowErrno(env, "sem_post");
  return nullptr;
}

static napi_value SemTryWait(napi_env env, napi_callback_info info) {
  const auto* semaphore = Selected(env, info, "sem_trywait");
  if (semaphore == nullptr) return nullptr;
  int result;
  do {
    result = sem_trywait((*semaphore)->sem);
  } while (result < 0 && errno == EINTR);
  if (result < 0 && errno != EAGAIN) return ThrowErrno(env, "sem_trywait");
  napi_value taken = nullptr;
  napi_get_boolean(env, result == 0, &taken);
  return taken;
}

static napi_value SemWait(napi_env env, napi_callback_info info) {
  const auto* semaphore = Selected(env, info, "sem_wait");
  if (semaphore != nullptr && sem_trywait((*semaphore)->sem) < 0) BlockingWait(env, *semaphore, "sem_wait", -1);
  return nullptr;
}

static napi_value SemValue(napi_env env, napi_callback_info info) {
  const auto* semaphore = Selected(env, info, "sem_getvalue");
  if (semaphore == nullptr) return nullptr;
  int value = 0;
  if (sem_getvalue((*semaphore)->sem, &value) < 0) return ThrowErrno(env, "sem_getvalue");
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

void AddSemaphores(Napi::Env env, Napi::Object exports) {
  Environment& mine = EnvironmentOf(env);
  Napi::Int32Array handle = Napi::Int32Array::New(env, 1);
  mine.hot_handle = handle.Data();
  mine.hot_handle_owner = Napi::Persistent(handle.As<Napi::Object>());
  exports.Set("hotHandle", handle);
  Add(env, exports, "semOpen", SemOpen);
  Add(env, exports, "semUnlink", SemUnlink);
  Add(env, exports, "semClose", SemClose);
  Add(env, exports, "semTimedWait", SemTimedWait);
  AddRaw(env, exports, "semPost", SemPost);
  AddRaw(env, exports, "semTryWait", SemTryWait);
  AddRaw(env, exports, "semWait", SemWait);
  AddRaw(env, exports, "semValue", SemValue);
}

}  // namespace ptalk
