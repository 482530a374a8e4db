// Signals: sigaction(2) with SA_SIGINFO, delivered to JavaScript through a pipe; sigqueue(3).
#include "signals.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "environment.h"
#include "order.h"

namespace ptalk {

namespace {

// What the handler reaches; signal dispositions are the process's, so this is too. Lock-free, as handlers need.
struct Route {
  std::atomic<int32_t> claim;   // 0: nobody's
  std::atomic<int> pipe;        // write end + 1; 0: none
  std::atomic<int> in_handler;  // handlers that may be using `pipe` right now
};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler takes no locks");

Route routes[NSIG];
std::atomic<int32_t> last_claim{0};
std::atomic<uint32_t> drops{0};

// Room for 40,000 records where the system allows it (fs.pipe-max-size), 2,700 where it does not.
constexpr int kPipeBytes = 1 << 20;

SignalRecord Record(int signo, int32_t claim, const siginfo_t* info) {
  SignalRecord record = {claim, signo, info->si_code, 0, 0, 0};
  // The fields of siginfo_t are a union: only what was sent by a process, or tells of a child, has a pid and a uid.
  const bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL ||
                    info->si_code == SI_MESGQ || (signo == SIGCHLD && info->si_code > 0);
  if (sent) {
    record.pid = info->si_pid;
    record.uid = info->si_uid;
  }
  if (info->si_code == SI_QUEUE || info->si_code == SI_MESGQ || info->si_code == SI_TIMER) {
    record.value = info->si_value.sival_int;
  }
  return record;
}

void OnSignal(int signo, siginfo_t* info, void* context) {
  const int saved = errno;
  if (signo >= SIGRTMIN && BlockOnThisThread(signo, info, context)) return;
  Route& route = routes[signo];
  route.in_handler.fetch_add(1);
  const int pipe = route.pipe.load() - 1;
  if (pipe >= 0) {
    const SignalRecord record = Record(signo, route.claim.load(), info);
    // Smaller than PIPE_BUF: written whole or not at all.
    if (write(pipe, &record, sizeof record) < 0) drops.fetch_add(1);
  }
  route.in_handler.fetch_sub(1);
  errno = saved;
}

bool IsOurs(const struct sigaction& action) { return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == OnSignal; }

const char* Kind(const struct sigaction& action) {
  if (IsOurs(action)) return "ours";
  if ((action.sa_flags & SA_SIGINFO) != 0) return "other";
  return action.sa_handler == SIG_DFL ? "default" : action.sa_handler == SIG_IGN ? "ignore" : "other";
}

bool Matches(const struct sigaction& action, SignalMode mode) {
  if (mode == kHandle) return IsOurs(action);
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == (mode == kIgnore ? SIG_IGN : SIG_DFL);
}

/** On this thread; whether it was blocked. */
bool SetBlocked(int signo, bool blocked) {
  sigset_t one, before;
  sigemptyset(&one);
  sigaddset(&one, signo);
  pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &one, &before);
  return sigismember(&before, signo) == 1;
}

bool InRange(int signo) { return signo > 0 && signo < NSIG; }

}  // namespace

int Signals::OpenPipe() {
  if (write_end >= 0) return 0;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -1;
  read_end = ends[0];
  write_end = ends[1];
  fcntl(write_end, F_SETPIPE_SZ, kPipeBytes);
  return 0;
}

int Signals::TakeReadEnd() {
  if (OpenPipe() < 0) return -1;
  handed_over = true;
  return read_end;
}

int32_t Signals::Claim(int signo, SignalMode mode) {
  if (!InRange(signo)) {
    errno = EINVAL;
    return 0;
  }
  if (mode == kHandle && OpenPipe() < 0) return 0;
  Route& route = routes[signo];
  const int32_t id = last_claim.fetch_add(1) + 1;
  int32_t nobody = 0;
  if (!route.claim.compare_exchange_strong(nobody, id)) {
    errno = EBUSY;
    return 0;
  }
  struct sigaction action = {};
  if (mode == kHandle) {
    route.pipe.store(write_end + 1);
    action.sa_sigaction = OnSignal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    // One handler at a time in a thread: pending realtime signals are then recorded in the order of their delivery.
    sigfillset(&action.sa_mask);
  } else {
    action.sa_handler = mode == kIgnore ? SIG_IGN : SIG_DFL;
    sigemptyset(&action.sa_mask);
  }
  Claimed mine = {id, mode, {}, false};
  if (sigaction(signo, &action, &mine.previous) < 0) {
    const int error = errno;
    route.pipe.store(0);
    route.claim.store(0);
    errno = error;
    return 0;
  }
  // Node with --disable-sigusr1 leaves that signal blocked.
  if (mode == kHandle && signo < SIGRTMIN) mine.was_blocked = SetBlocked(signo, false);
  claimed[signo] = mine;
  if (mode == kHandle && signo >= SIGRTMIN) DeliverToMainThreadOnly(signo);
  return id;
}

bool Signals::Restore(int signo, int32_t claim) {
  const auto found = claimed.find(signo);
  if (found == claimed.end() || found->second.id != claim) return false;
  struct sigaction current;
  const bool undisturbed = sigaction(signo, nullptr, &current) == 0 && Matches(current, found->second.mode);
  if (found->second.was_blocked) SetBlocked(signo, true);
  if (undisturbed) {
    if (found->second.mode == kHandle && signo >= SIGRTMIN) DiscardPending(signo);
    sigaction(signo, &found->second.previous, nullptr);
  }
  claimed.erase(found);
  routes[signo].pipe.store(0);
  routes[signo].claim.store(0);
  return undisturbed;
}

Signals::~Signals() {
  while (!claimed.empty()) {
    const int signo = claimed.begin()->first;
    Restore(signo, claimed.begin()->second.id);
    // A handler on another thread may have read the pipe's number before; it must not meet another file there.
    while (routes[signo].in_handler.load() > 0) sched_yield();
  }
  if (write_end >= 0) close(write_end);
  if (read_end >= 0 && !handed_over) close(read_end);
}

static Napi::Value Sigaction(const Napi::CallbackInfo& info) {
  const int32_t id = EnvironmentOf(info.Env()).signals->Claim(Int(info, 0), static_cast<SignalMode>(Int(info, 1)));
  if (id == 0) return ThrowErrno(info.Env(), "sigaction");
  return Napi::Number::New(info.Env(), id);
}

static Napi::Value Sigrestore(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), EnvironmentOf(info.Env()).signals->Restore(Int(info, 0), Int(info, 1)));
}

static Napi::Value Sigcurrent(const Napi::CallbackInfo& info) {
  struct sigaction action;
  if (sigaction(Int(info, 0), nullptr, &action) < 0) return ThrowErrno(info.Env(), "sigaction");
  return Napi::String::New(info.Env(), Kind(action));
}

static Napi::Value Sigqueue(const Napi::CallbackInfo& info) {
  union sigval value = {};
  value.sival_int = Int(info, 2);
  if (sigqueue(Int(info, 0), Int(info, 1), value) < 0) return ThrowErrno(info.Env(), "sigqueue");
  return info.Env().Undefined();
}

static Napi::Value SignalFd(const Napi::CallbackInfo& info) {
  const int fd = EnvironmentOf(info.Env()).signals->TakeReadEnd();
  if (fd < 0) return ThrowErrno(info.Env(), "pipe2");
  return Napi::Number::New(info.Env(), fd);
}

static Napi::Value SignalDrops(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), drops.load()); }

void AddSignals(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "sigaction", Sigaction);
  Add(env, exports, "sigrestore", Sigrestore);
  Add(env, exports, "sigcurrent", Sigcurrent);
  Add(env, exports, "sigqueue", Sigqueue);
  Add(env, exports, "signalFd", SignalFd);
  Add(env, exports, "signalDrops", SignalDrops);
  exports.Set("SIGRTMIN", Napi::Number::New(env, SIGRTMIN));
  exports.Set("SIGRTMAX", Napi::Number::New(env, SIGRTMAX));
}

}  // namespace ptalk
