#include "wait.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "sem.h"

namespace ptalk {

// Enough for sem_clockwait and the SIGBUS handler, with room for a sanitizer's frames.
constexpr size_t kStackBytes = 256 * 1024;

CompletionPipe::~CompletionPipe() {
  if (write_end >= 0) close(write_end);
  if (read_end >= 0 && !handed_over) close(read_end);
}

static bool Settle(Wait& wait, WaitState outcome) {
  int expected = kWaiting;
  return wait.state.compare_exchange_strong(expected, outcome);
}

// Waits in slices, because nothing else than time wakes a thread from a semaphore without touching its value.
static WaitState WaitInSlices(Wait& wait) {
  for (;;) {
    timespec slice = MonotonicIn(kSliceMs);
    if (wait.limited && Earlier(wait.deadline, slice)) slice = wait.deadline;
    if (WaitUntil(wait.semaphore->sem, slice)) return kAcquired;
    if (errno != ETIMEDOUT) {
      wait.error = errno;
      return kFailed;
    }
    if (wait.state.load() == kCancelled) return kCancelled;
    if (wait.limited && !Earlier(MonotonicIn(0), wait.deadline)) return kTimedOut;
  }
}

static void* Run(void* argument) {
  std::shared_ptr<Wait> wait = std::move(*static_cast<std::shared_ptr<Wait>*>(argument));
  delete static_cast<std::shared_ptr<Wait>*>(argument);
  const WaitState outcome = WaitInSlices(*wait);
  const bool won = outcome != kCancelled && Settle(*wait, outcome);
  if (!won && outcome == kAcquired) sem_post(wait->semaphore->sem);  // cancelled meanwhile: it was never ours
  std::shared_ptr<CompletionPipe> pipe = wait->pipe;
  const int32_t id = wait->id;
  wait.reset();
  // Blocks at worst until JavaScript reads; fails with EPIPE when it is gone, and Abandon has seen to the token.
  if (won) {
    while (write(pipe->write_end, &id, sizeof id) < 0 && errno == EINTR) {
    }
  }
  pipe->running.fetch_sub(1);
  return nullptr;
}

static int StartThread(std::shared_ptr<Wait> wait) {
  auto* argument = new std::shared_ptr<Wait>(std::move(wait));
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

int Waits::OpenPipe() {
  if (pipe) return 0;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return errno;
  pipe = std::make_shared<CompletionPipe>();
  pipe->read_end = ends[0];
  pipe->write_end = ends[1];
  return 0;
}

int Waits::TakeReadEnd() {
  errno = OpenPipe();
  if (errno != 0) return -1;
  pipe->handed_over = true;
  return pipe->read_end;
}

int Waits::Start(std::shared_ptr<NamedSemaphore> semaphore, double milliseconds, int32_t* id) {
  if (int error = OpenPipe()) return error;
  if (pipe->running.load() >= kMaxAsyncWaits || pending.size() >= kMaxAsyncWaits) return EAGAIN;
  auto wait = std::make_shared<Wait>();
  wait->id = last_id = last_id == INT32_MAX ? 1 : last_id + 1;
  wait->semaphore = std::move(semaphore);
  wait->pipe = pipe;
  wait->limited = milliseconds >= 0;
  wait->deadline = MonotonicIn(milliseconds);
  pipe->running.fetch_add(1);
  if (int error = StartThread(wait)) {
    pipe->running.fetch_sub(1);
    return error;
  }
  pending[wait->id] = wait;
  *id = wait->id;
  return 0;
}

void Waits::Cancel(int32_t id) {
  const auto found = pending.find(id);
  if (found == pending.end()) return;
  Wait& wait = *found->second;
  if (!Settle(wait, kCancelled) && wait.state.load() == kAcquired) sem_post(wait.semaphore->sem);
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
  if (!pipe) return;
  // A thread may hold a token at this moment; the process must not end before it has given it back.
  for (int ms = 0; ms < 2 * kSliceMs && pipe->running.load() > 0; ms++) usleep(1000);
}

// Milliseconds below 0 wait without limit. The id comes back through the completion pipe once the wait is over.
static Napi::Value SemWaitStart(const Napi::CallbackInfo& info) {
  Environment& mine = EnvironmentOf(info.Env());
  const auto* semaphore = mine.Find(Int(info, 0));
  if (semaphore == nullptr) return ThrowErrno(info.Env(), "sem_wait", "", EINVAL);
  int32_t id = 0;
  if (int error = mine.waits->Start(*semaphore, Double(info, 1), &id)) {
    return ThrowErrno(info.Env(), "pthread_create", "", error);
  }
  return Napi::Number::New(info.Env(), id);
}

static Napi::Value SemWaitCancel(const Napi::CallbackInfo& info) {
  EnvironmentOf(info.Env()).waits->Cancel(Int(info, 0));
  return info.Env().Undefined();
}

// True when it was acquired (the token is the caller's now), false when it timed out, undefined for an id not known (any more).
static Napi::Value SemWaitCollect(const Napi::CallbackInfo& info) {
  const auto wait = EnvironmentOf(info.Env()).waits->Collect(Int(info, 0));
  if (!wait) return info.Env().Undefined();
  if (wait->state.load() == kFailed) return ThrowErrno(info.Env(), "sem_wait", "", wait->error);
  return Napi::Boolean::New(info.Env(), wait->state.load() == kAcquired);
}

static Napi::Value SemWaitAbandon(const Napi::CallbackInfo& info) {
  EnvironmentOf(info.Env()).waits->Abandon();
  return info.Env().Undefined();
}

static Napi::Value CompletionFd(const Napi::CallbackInfo& info) {
  const int fd = EnvironmentOf(info.Env()).waits->TakeReadEnd();
  if (fd < 0) return ThrowErrno(info.Env(), "pipe2");
  return Napi::Number::New(info.Env(), fd);
}

void AddWaits(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "semWaitStart", SemWaitStart);
  Add(env, exports, "semWaitCancel", SemWaitCancel);
  Add(env, exports, "semWaitCollect", SemWaitCollect);
  Add(env, exports, "semWaitAbandon", SemWaitAbandon);
  Add(env, exports, "completionFd", CompletionFd);
}

}  // namespace ptalk
