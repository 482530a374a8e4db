// Waits that do not block Node: one small thread each, because libuv's pool has four and others need them.
#pragma once

#include <atomic>
#include <ctime>
#include <map>
#include <memory>

#include "environment.h"

namespace ptalk {

// Threads that wait at once in one environment; the next one gets EAGAIN.
constexpr int kMaxAsyncWaits = 1024;

enum WaitState : int { kWaiting, kAcquired, kTimedOut, kCancelled, kFailed };

// Where threads announce that they are done: each writes the id of its wait. Shared, because the last of them may come
// after the environment is gone. The read end is JavaScript's once it asked for it.
struct CompletionPipe {
  ~CompletionPipe();
  int read_end = -1;
  int write_end = -1;
  bool handed_over = false;
  std::atomic<int> running{0};
};

struct Wait {
  int32_t id;
  std::shared_ptr<NamedSemaphore> semaphore;
  std::shared_ptr<CompletionPipe> pipe;
  bool limited;
  timespec deadline;
  int error = 0;  // read after state became kFailed
  // kWaiting to one of the others, once, by compare-and-swap: that decides who won, the token or the cancellation.
  std::atomic<int> state{kWaiting};
};

class Waits {
 public:
  ~Waits() { Abandon(); }
  // 0, or the errno that kept the thread from starting.
  int Start(std::shared_ptr<NamedSemaphore> semaphore, double milliseconds, int32_t* id);
  // Ends a wait and forgets it; what it had acquired without being collected goes back.
  void Cancel(int32_t id);
  // The outcome of a wait that announced itself, which is forgotten with that; nullptr when it is not known.
  std::shared_ptr<Wait> Collect(int32_t id);
  // Cancels every wait, then lets their threads end. Takes up to two slices.
  void Abandon();
  // The pipe's read end, now the caller's to close; -1 with errno.
  int TakeReadEnd();

 private:
  int OpenPipe();
  std::map<int32_t, std::shared_ptr<Wait>> pending;
  std::shared_ptr<CompletionPipe> pipe;
  int32_t last_id = 0;
};

}  // namespace ptalk
