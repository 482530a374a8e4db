// Waits that do not block Node: on threads of their own, because libuv's pool has four and others need them. A thread that has ended a
// wait stays for the next one.
#pragma once

#include <uv.h>

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "environment.h"

namespace ptalk {

// Waits at once in one environment; the next one gets EAGAIN.
constexpr int kMaxAsyncWaits = 1024;
// Threads that stay without a wait: enough for a server's usual few; what a burst needed beyond that ends with it.
constexpr int kIdleThreads = 4;

enum WaitState : int { kWaiting, kAcquired, kTimedOut, kCancelled, kFailed };

struct Wait {
  int32_t id;
  // One of the two: a semaphore to take, or a word in shared memory to differ from `expected` (or to be woken on). The word is only
  // given to futex(2), never read here: memory that is gone is EFAULT, not a fault.
  std::shared_ptr<NamedSemaphore> semaphore;
  uint32_t* word = nullptr;
  uint32_t expected = 0;
  bool limited = false;
  timespec deadline = {};
  int error = 0;  // read after state became kFailed
  // kWaiting to one of the others, once, by compare-and-swap: that decides who won, the token or the cancellation.
  std::atomic<int> state{kWaiting};
};

// What the threads share with their environment. The last thread may end after the environment.
struct WaitPool {
  std::mutex mutex;
  std::condition_variable work;
  std::deque<std::shared_ptr<Wait>> jobs;  // each has a thread that is idle, or about to be
  std::vector<int32_t> done;               // ids that JavaScript has not been told of
  uv_async_t* loop = nullptr;              // wakes the event loop; nullptr once the environment is going
  int threads = 0;
  int idle = 0;
  int running = 0;  // threads with a wait
  bool over = false;
};

class Waits {
 public:
  Waits() : pool(std::make_shared<WaitPool>()) {}
  ~Waits() { Abandon(); }
  // From now on `callback` is called with the id of each wait that is over. 0 or an errno. Once.
  int Listen(Napi::Env env, Napi::Function callback);
  // Whether pending waits keep the event loop alive.
  void Hold(bool hold);
  // 0, or the errno that kept the wait from starting.
  int Start(std::shared_ptr<Wait> wait, double milliseconds, int32_t* id);
  // Ends a wait and forgets it; what it had acquired without being collected goes back.
  void Cancel(int32_t id);
  // The outcome of a wait that announced itself, which is forgotten with that; nullptr when it is not known.
  std::shared_ptr<Wait> Collect(int32_t id);
  // Cancels every wait, then lets their threads end. Takes up to two slices.
  void Abandon();

 private:
  struct Listener;
  std::map<int32_t, std::shared_ptr<Wait>> pending;
  const std::shared_ptr<WaitPool> pool;
  Listener* listener = nullptr;
  int32_t last_id = 0;
};

}  // namespace ptalk
