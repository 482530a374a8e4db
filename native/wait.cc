#include "wait.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "sem.h"

namespace ptalk {

// Enough for sem_clockwait and the SIGBUS handler, with room for a sanitizer's frames.
constexpr size_t kStackBytes = 256 * 1024;

// How long the end of a process waits for threads that may hold a token: many slices, since on a busy machine a thread is late.
constexpr int kGiveBackMs = 5000;

static bool Settle(Wait& wait, WaitState outcome) {
  int expected = kWaiting;
  return wait.state.compare_exchange_strong(expected, outcome);
}

// FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC. True when woken, or when the word has another value already.
static bool WaitForWord(uint32_t* word, uint32_t expected, const timespec& until) {
  for (;;) {
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &until, nullptr, FUTEX_BITSET_MATCH_ANY) == 0) return true;
    if (errno == EAGAIN) return true;
    if (errno != EINTR) return false;
  }
}

static bool WaitOnce(Wait& wait, const timespec& until) {
  return wait.semaphore ? WaitUntil(wait.semaphore->sem, until) : WaitForWord(wait.word, wait.expected, until);
}

// Waits in slices, because nothing else than time wakes a thread from a semaphore without touching its value.
static WaitState WaitInSlices(Wait& wait) {
  for (;;) {
    if (wait.state.load() == kCancelled) return kCancelled;
    timespec slice = MonotonicIn(kSliceMs);
    if (wait.limited && Earlier(wait.deadline, slice)) slice = wait.deadline;
    if (WaitOnce(wait, slice)) return kAcquired;
    if (errno != ETIMEDOUT) {
      wait.error = errno;
      return kFailed;
    }
    if (wait.limited && !Earlier(MonotonicIn(0), wait.deadline)) return kTimedOut;
  }
}

static void Announce(WaitPool& pool, int32_t id) {
  const std::lock_guard<std::mutex> lock(pool.mutex);
  pool.done.push_back(id);
  if (pool.loop != nullptr) uv_async_send(pool.loop);
}

static void RunOne(WaitPool& pool, std::shared_ptr<Wait> wait) {
  const WaitState outcome = WaitInSlices(*wait);
  const bool won = outcome != kCancelled && Settle(*wait, outcome);
  // Cancelled meanwhile: it was never ours.
  if (!won && outcome == kAcquired && wait->semaphore) sem_post(wait->semaphore->sem);
  const int32_t id = wait->id;
  wait.reset();
  if (won) Announce(pool, id);
}

static void* Run(void* argument) {
  std::shared_ptr<WaitPool> pool = std::move(*static_cast<std::shared_ptr<WaitPool>*>(argument));
  delete static_cast<std::shared_ptr<WaitPool>*>(argument);
  std::unique_lock<std::mutex> lock(pool->mutex);
  for (;;) {
    pool->idle++;
    while (pool->jobs.empty() && !pool->over && pool->idle <= kIdleThreads) pool->work.wait(lock);
    pool->idle--;
    if (pool->jobs.empty()) break;
    std::shared_ptr<Wait> wait = std::move(pool->jobs.front());
    pool->jobs.pop_front();
    pool->running++;
    lock.unlock();
    RunOne(*pool, std::move(wait));
    lock.lock();
    pool->running--;
  }
  pool->threads--;
  return nullptr;
}

static int StartThread(const std::shared_ptr<WaitPool>& pool) {
  auto* argument = new std::shared_ptr<WaitPool>(pool);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Signals are for Node's threads. A blocked fault, though, would kill the process without asking the guard.
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, Run, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) delete argument;
  return error;
}

// JavaScript's ear. Lives until libuv has let go of its handle.
struct Waits::Listener {
  Listener(Napi::Env env, std::shared_ptr<WaitPool> pool) : env(env), pool(std::move(pool)), context(env, "ptalk:wait") {}

  static void OnAsync(uv_async_t* handle) {
    auto* listener = static_cast<Listener*>(handle->data);
    std::vector<int32_t> done;
    {
      const std::lock_guard<std::mutex> lock(listener->pool->mutex);
      done.swap(listener->pool->done);
    }
    for (int32_t id : done) listener->Call(id);
  }

  // Plain Node-API: when a worker thread is being terminated every call fails, and that is no error of anybody.
  void Call(int32_t id) {
    Napi::HandleScope scope(env);
    napi_value global = nullptr;
    napi_value argument = nullptr;
    if (napi_get_global(env, &global) != napi_ok || napi_create_int32(env, id, &argument) != napi_ok) return;
    const napi_status called = napi_make_callback(env, context, global, callback.Value(), 1, &argument, nullptr);
    napi_value exception = nullptr;
    if (called == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok)
      napi_fatal_exception(env, exception);
  }

  void Close() {
    {
      const std::lock_guard<std::mutex> lock(pool->mutex);
      if (pool->loop == nullptr) return;
      pool->loop = nullptr;
    }
    EnvironmentOf(env).waits->listener = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&async), [](uv_handle_t* handle) {
      auto* listener = static_cast<Listener*>(handle->data);
      const napi_async_cleanup_hook_handle cleanup = listener->cleanup;
      {
        Napi::HandleScope scope(listener->env);
        delete listener;
      }
      napi_remove_async_cleanup_hook(cleanup);
    });
  }

  const Napi::Env env;
  const std::shared_ptr<WaitPool> pool;
  Napi::AsyncContext context;
  Napi::FunctionReference callback;
  uv_async_t async;
  napi_async_cleanup_hook_handle cleanup = nullptr;
};

int Waits::Listen(Napi::Env env, Napi::Function callback) {
  uv_loop_t* loop = nullptr;
  if (listener != nullptr || napi_get_uv_event_loop(env, &loop) != napi_ok) return EBUSY;
  listener = new Listener(env, pool);
  const int error = uv_async_init(loop, &listener->async, Listener::OnAsync);
  if (error != 0) {
    delete listener;
    listener = nullptr;
    return -error;
  }
  listener->async.data = listener;
  listener->callback = Napi::Persistent(callback);
  uv_unref(reinterpret_cast<uv_handle_t*>(&listener->async));
  // A worker thread may end with waits pending: libuv's handle has to be closed first, which takes a turn.
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { static_cast<Listener*>(data)->Close(); }, listener,
      &listener->cleanup);
  const std::lock_guard<std::mutex> lock(pool->mutex);
  pool->loop = &listener->async;
  return 0;
}

void Waits::Hold(bool hold) {
  if (listener == nullptr) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&listener->async);
  if (hold)
    uv_ref(handle);
  else
    uv_unref(handle);
}

int Waits::Start(std::shared_ptr<Wait> wait, double milliseconds, int32_t* id) {
  wait->id = last_id = last_id == INT32_MAX ? 1 : last_id + 1;
  wait->limited = milliseconds >= 0;
  wait->deadline = MonotonicIn(milliseconds);
  std::unique_lock<std::mutex> lock(pool->mutex);
  pool->over = false;
  // A wait that was cancelled has its thread until the end of its slice.
  if (pool->running + static_cast<int>(pool->jobs.size()) >= kMaxAsyncWaits || pending.size() >= kMaxAsyncWaits)
    return EAGAIN;
  if (static_cast<int>(pool->jobs.size()) >= pool->idle) {
    if (int error = StartThread(pool)) return error;
    pool->threads++;
    // It counts itself idle when it comes to it; until then the job waits for it here.
  }
  pool->jobs.push_back(wait);
  lock.unlock();
  pool->work.notify_one();
  pending[wait->id] = std::move(wait);
  *id = last_id;
  return 0;
}

void Waits::Cancel(int32_t id) {
  const auto found = pending.find(id);
  if (found == pending.end()) return;
  Wait& wait = *found->second;
  if (!Settle(wait, kCancelled) && wait.state.load() == kAcquired && wait.semaphore) sem_post(wait.semaphore->sem);
  pending.erase(found);
}

std::shared_ptr<Wait> Waits::Collect(int32_t id) {
  const auto found = pending.find(id);
  if (found == pending.end() || found->second->state.load() == kWaiting) return nullptr;
  std::shared_ptr<Wait> wait = std::move(found->second);
  pending.erase(found);
  return wait;
}

void Waits::Abandon() {
  while (!pending.empty()) Cancel(pending.begin()->first);
  std::unique_lock<std::mutex> lock(pool->mutex);
  pool->over = true;
  pool->work.notify_all();
  // A thread may hold a token at this moment; the process must not end before it has given it back.
  for (int ms = 0; ms < kGiveBackMs && pool->running > 0; ms++) {
    lock.unlock();
    usleep(1000);
    lock.lock();
  }
}

static Napi::Value StartWait(const Napi::CallbackInfo& info, std::shared_ptr<Wait> wait, double milliseconds) {
  int32_t id = 0;
  if (int error = EnvironmentOf(info.Env()).waits->Start(std::move(wait), milliseconds, &id))
    return ThrowErrno(info.Env(), "pthread_create", "", error);
  return Napi::Number::New(info.Env(), id);
}

// Milliseconds below 0 wait without limit. The id comes back through waitListen's callback once the wait is over.
static Napi::Value SemWaitStart(const Napi::CallbackInfo& info) {
  const auto* semaphore = EnvironmentOf(info.Env()).Find(Int(info, 0));
  if (semaphore == nullptr) return ThrowErrno(info.Env(), "sem_wait", "", EINVAL);
  auto wait = std::make_shared<Wait>();
  wait->semaphore = *semaphore;
  return StartWait(info, std::move(wait), Double(info, 1));
}

// The word of a typed array, or nullptr.
static uint32_t* WordOf(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray()) return nullptr;
  const auto words = info[0].As<Napi::TypedArray>();
  const int64_t index = Int64(info, 1);
  if (words.TypedArrayType() != napi_int32_array || index < 0 || index >= static_cast<int64_t>(words.ElementLength()))
    return nullptr;
  return reinterpret_cast<uint32_t*>(words.As<Napi::Int32Array>().Data()) + index;
}

// wordWaitStart(words, index, expected, ms)
static Napi::Value WordWaitStart(const Napi::CallbackInfo& info) {
  auto wait = std::make_shared<Wait>();
  wait->word = WordOf(info);
  wait->expected = static_cast<uint32_t>(Int(info, 2));
  if (wait->word == nullptr) return ThrowErrno(info.Env(), "futex", "", EINVAL);
  return StartWait(info, std::move(wait), Double(info, 3));
}

// wordWake(words, index, count): how many were woken, of all processes.
static napi_value WordWake(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  size_t count = 3;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  size_t length = 0;
  uint32_t index = UINT32_MAX;
  int32_t most = 0;
  napi_value result = nullptr;
  if (napi_get_typedarray_info(env, arguments[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || napi_get_value_uint32(env, arguments[1], &index) != napi_ok || index >= length)
    return ThrowErrno(env, "futex", "", EINVAL);
  napi_get_value_int32(env, arguments[2], &most);
  const long woken = syscall(SYS_futex, static_cast<uint32_t*>(data) + index, FUTEX_WAKE, most);
  napi_create_int32(env, woken < 0 ? 0 : static_cast<int32_t>(woken), &result);
  return result;
}

// Yields this processor: two threads that poll on the same one would otherwise wait for each other's time slice.
static napi_value YieldProcessor(napi_env, napi_callback_info) {
  sched_yield();
  return nullptr;
}

static Napi::Value WaitCancel(const Napi::CallbackInfo& info) {
  EnvironmentOf(info.Env()).waits->Cancel(Int(info, 0));
  return info.Env().Undefined();
}

// True when it was acquired (the token is the caller's now), false when it timed out, undefined for an id not known (any more).
static Napi::Value WaitCollect(const Napi::CallbackInfo& info) {
  const auto wait = EnvironmentOf(info.Env()).waits->Collect(Int(info, 0));
  if (!wait) return info.Env().Undefined();
  if (wait->state.load() == kFailed)
    return ThrowErrno(info.Env(), wait->semaphore ? "sem_wait" : "futex", "", wait->error);
  return Napi::Boolean::New(info.Env(), wait->state.load() == kAcquired);
}

static Napi::Value WaitAbandon(const Napi::CallbackInfo& info) {
  EnvironmentOf(info.Env()).waits->Abandon();
  return info.Env().Undefined();
}

static Napi::Value WaitListen(const Napi::CallbackInfo& info) {
  if (!info[0].IsFunction()) return ThrowErrno(info.Env(), "uv_async_init", "", EINVAL);
  const int error = EnvironmentOf(info.Env()).waits->Listen(info.Env(), info[0].As<Napi::Function>());
  if (error != 0) return ThrowErrno(info.Env(), "uv_async_init", "", error);
  return info.Env().Undefined();
}

static Napi::Value WaitHold(const Napi::CallbackInfo& info) {
  EnvironmentOf(info.Env()).waits->Hold(Bool(info, 0));
  return info.Env().Undefined();
}

void AddWaits(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "semWaitStart", SemWaitStart);
  Add(env, exports, "wordWaitStart", WordWaitStart);
  AddRaw(env, exports, "wordWake", WordWake);
  AddRaw(env, exports, "yieldProcessor", YieldProcessor);
  Add(env, exports, "waitCancel", WaitCancel);
  Add(env, exports, "waitCollect", WaitCollect);
  Add(env, exports, "waitAbandon", WaitAbandon);
  Add(env, exports, "waitListen", WaitListen);
  Add(env, exports, "waitHold", WaitHold);
}

}  // namespace ptalk
