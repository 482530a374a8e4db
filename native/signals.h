// Signal dispositions that one environment claimed.
#pragma once

#include <signal.h>

#include <cstdint>
#include <map>

namespace ptalk {

enum SignalMode : int { kDefault = 0, kIgnore = 1, kHandle = 2 };

// What JavaScript reads from the signal pipe for every delivery: 24 bytes, native byte order. lib/ipc/signals.ts reads it.
struct SignalRecord {
  int32_t claim;
  int32_t signo;
  int32_t code;
  int32_t pid;
  uint32_t uid;
  int32_t value;
};
static_assert(sizeof(SignalRecord) == 24, "lib/ipc/signals.ts reads 24 bytes");

class Signals {
 public:
  // Puts back every disposition, then closes the pipe once no handler can be writing to it.
  ~Signals();
  // The claim's id, or 0 with errno: EBUSY while anyone in this process has a claim on the signal.
  int32_t Claim(int signo, SignalMode mode);
  // Ends a claim. False when the disposition is no longer the one it set: then it is left alone.
  bool Restore(int signo, int32_t claim);
  // The pipe's read end, now the caller's to close; -1 with errno.
  int TakeReadEnd();

 private:
  struct Claimed {
    int32_t id;
    SignalMode mode;
    struct sigaction previous;
    bool was_blocked;
  };
  int OpenPipe();
  std::map<int, Claimed> claimed;
  int read_end = -1;
  int write_end = -1;
  bool handed_over = false;
};

}  // namespace ptalk
