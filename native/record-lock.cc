// OFD record locks on a descriptor: fcntl_locking(2).
#include <fcntl.h>

#include <cerrno>

#include "environment.h"

namespace ptalk {

// An OFD lock belongs to the open file description, so the kernel drops it when the last process that has it dies.
static int LockCommand(const Napi::CallbackInfo& info, int command, short type, struct flock* range) {
  *range = {};
  range->l_type = type;
  range->l_whence = SEEK_SET;
  range->l_start = Int64(info, 1);
  range->l_len = Int64(info, 2);
  int result;
  do {
    result = fcntl(Int(info, 0), command, range);
  } while (result < 0 && errno == EINTR);
  return result;
}

// True when the lock is ours now, false when someone else is in the way. Never blocks.
static Napi::Value LockBytes(const Napi::CallbackInfo& info) {
  struct flock range;
  if (LockCommand(info, F_OFD_SETLK, Bool(info, 3) ? F_WRLCK : F_RDLCK, &range) == 0) {
    return Napi::Boolean::New(info.Env(), true);
  }
  if (errno == EAGAIN || errno == EACCES) return Napi::Boolean::New(info.Env(), false);
  return ThrowErrno(info.Env(), "fcntl");
}

static Napi::Value UnlockBytes(const Napi::CallbackInfo& info) {
  struct flock range;
  if (LockCommand(info, F_OFD_SETLK, F_UNLCK, &range) < 0) return ThrowErrno(info.Env(), "fcntl");
  return info.Env().Undefined();
}

// The first byte of somebody else's lock in the range, or -1. Works on a read-only descriptor.
static Napi::Value TestBytes(const Napi::CallbackInfo& info) {
  struct flock range;
  if (LockCommand(info, F_OFD_GETLK, F_WRLCK, &range) < 0) return ThrowErrno(info.Env(), "fcntl");
  return Napi::Number::New(info.Env(), range.l_type == F_UNLCK ? -1 : static_cast<double>(range.l_start));
}

// Whether another holder has a write lock in the range. Asks as a reader: read locks, which any user who may read the
// file can take, do not count. Works on a read-only descriptor.
static Napi::Value IsWriteLocked(const Napi::CallbackInfo& info) {
  struct flock range;
  if (LockCommand(info, F_OFD_GETLK, F_RDLCK, &range) < 0) return ThrowErrno(info.Env(), "fcntl");
  return Napi::Boolean::New(info.Env(), range.l_type != F_UNLCK);
}

void AddRecordLocks(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "lockBytes", LockBytes);
  Add(env, exports, "unlockBytes", UnlockBytes);
  Add(env, exports, "testBytes", TestBytes);
  Add(env, exports, "isWriteLocked", IsWriteLocked);
}

}  // namespace ptalk
