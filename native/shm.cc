// Shared memory objects: shm_open(3), posix_fallocate(3), mmap(2).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "environment.h"
#include "guard.h"

namespace ptalk {

// O_NONBLOCK, because whoever may write to /dev/shm can put a FIFO there, or a lease on their object, and let openers hang.
static Napi::Value ShmOpen(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  int fd;
  do {
    fd = shm_open(name.c_str(), Int(info, 1) | O_CLOEXEC | O_NONBLOCK, static_cast<mode_t>(Int(info, 2)));
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ThrowErrno(info.Env(), "shm_open", name);
  EnvironmentOf(info.Env()).descriptors.insert(fd);
  return Napi::Number::New(info.Env(), fd);
}

static Napi::Value ShmUnlink(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  if (shm_unlink(name.c_str()) < 0) return ThrowErrno(info.Env(), "shm_unlink", name);
  return info.Env().Undefined();
}

// Backs the object's first `size` bytes now (ENOSPC here instead of SIGBUS later). Never shrinks.
static Napi::Value Allocate(const Napi::CallbackInfo& info) {
  int error;
  do {
    error = posix_fallocate(Int(info, 0), 0, Int64(info, 1));
  } while (error == EINTR);
  if (error != 0) return ThrowErrno(info.Env(), "posix_fallocate", Text(info, 2), error);
  return info.Env().Undefined();
}

static Napi::Value Fstat(const Napi::CallbackInfo& info) {
  struct stat status;
  if (fstat(Int(info, 0), &status) < 0) return ThrowErrno(info.Env(), "fstat");
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("size", static_cast<double>(status.st_size));
  result.Set("uid", static_cast<double>(status.st_uid));
  result.Set("gid", static_cast<double>(status.st_gid));
  result.Set("mode", static_cast<double>(status.st_mode));
  result.Set("nlink", static_cast<double>(status.st_nlink));
  result.Set("dev", static_cast<double>(status.st_dev));
  result.Set("ino", static_cast<double>(status.st_ino));
  return result;
}

static Napi::Value Fchmod(const Napi::CallbackInfo& info) {
  if (fchmod(Int(info, 0), static_cast<mode_t>(Int(info, 1))) < 0) return ThrowErrno(info.Env(), "fchmod");
  return info.Env().Undefined();
}

// reopenFd(fd, flags): another open file description of the same object, whatever its name; where there is no /proc, the same one again.
static Napi::Value ReopenFd(const Napi::CallbackInfo& info) {
  const std::string path = "/proc/self/fd/" + std::to_string(Int(info, 0));
  int fd = open(path.c_str(), (Int(info, 1) & O_ACCMODE) | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) fd = fcntl(Int(info, 0), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return ThrowErrno(info.Env(), "open", path);
  EnvironmentOf(info.Env()).descriptors.insert(fd);
  return Napi::Number::New(info.Env(), fd);
}

static Napi::Value CloseFd(const Napi::CallbackInfo& info) {
  const int fd = Int(info, 0);
  if (EnvironmentOf(info.Env()).descriptors.erase(fd) == 0) return ThrowErrno(info.Env(), "close", "", EBADF);
  close(fd);  // Linux frees the number even when close reports an error
  return info.Env().Undefined();
}

// Lives until Node's finalizer has run, which may be long after unmap().
struct Mapping {
  void* address;
  size_t size;
  int slot;  // in the SIGBUS guard; -1 once unmapped
};

static void Release(Mapping* mapping) {
  if (mapping->slot < 0) return;
  Unguard(mapping->slot);
  munmap(mapping->address, mapping->size);
  mapping->slot = -1;
}

// Node calls this once nothing refers to the buffer any more, or at the end of its environment.
static void Finalize(napi_env, void*, void* hint) {
  Mapping* mapping = static_cast<Mapping*>(hint);
  Release(mapping);
  delete mapping;
}

static Napi::Value Map(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const size_t size = static_cast<size_t>(Int64(info, 1));
  const bool writable = Bool(info, 2);
  const std::string name = Text(info, 3);
  void* address = mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, Int(info, 0), 0);
  if (address == MAP_FAILED) return ThrowErrno(env, "mmap", name);
  Mapping* mapping = new Mapping{address, size, -1};
  mapping->slot = Guard(address, size, writable, mapping);
  napi_value buffer = nullptr;
  napi_status status = napi_generic_failure;
  if (mapping->slot >= 0) {
    status = napi_create_external_arraybuffer(env, address, size, Finalize, mapping, &buffer);
    if (status == napi_ok) return Napi::Value(env, buffer);
    Release(mapping);
  } else {
    munmap(address, size);
  }
  delete mapping;
  if (env.IsExceptionPending()) return Napi::Value();
  return ThrowErrno(env, "mmap", name, ENOMEM);
}

static Mapping* Find(const Napi::Value& value) {
  if (!value.IsArrayBuffer()) return nullptr;
  const int slot = FindGuarded(value.As<Napi::ArrayBuffer>().Data());
  return slot < 0 ? nullptr : static_cast<Mapping*>(OwnerOf(slot));
}

// Detaches every view of the buffer, then unmaps. Nothing happens when it is detached already.
static Napi::Value Unmap(const Napi::CallbackInfo& info) {
  Mapping* mapping = Find(info[0]);
  if (mapping == nullptr) return info.Env().Undefined();
  if (napi_detach_arraybuffer(info.Env(), info[0]) != napi_ok) return ThrowErrno(info.Env(), "munmap", "", EINVAL);
  Release(mapping);
  return info.Env().Undefined();
}

// Objects larger than this are not copied when they are left: it would take longer than 10 ms.
constexpr size_t kCopiedAtOnce = 32 << 20;

// Puts private memory with the same bytes where the mapping is: one step for every thread that is looking. False: it stays as it is.
static bool Privatise(const Mapping& mapping, int fd) {
  if (mapping.size > kCopiedAtOnce) {
    // Copied page by page, when somebody writes; the object's memory stays until then.
    void* there = mmap(mapping.address, mapping.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
    return there != MAP_FAILED;
  }
  void* copy = mmap(nullptr, mapping.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return false;
  memcpy(copy, mapping.address, mapping.size);
  if (mremap(copy, mapping.size, mapping.size, MREMAP_MAYMOVE | MREMAP_FIXED, mapping.address) != MAP_FAILED) return true;
  munmap(copy, mapping.size);
  return false;
}

// leave(buffer, fd): lets go of the object, and leaves its bytes, as private memory, to background work that still uses
// a view of the buffer.
static Napi::Value Leave(const Napi::CallbackInfo& info) {
  const Mapping* mapping = Find(info[0]);
  return Napi::Boolean::New(info.Env(), mapping != nullptr && Privatise(*mapping, Int(info, 1)));
}

static Napi::Value Faults(const Napi::CallbackInfo& info) {
  Mapping* mapping = Find(info[0]);
  return Napi::Number::New(info.Env(), mapping == nullptr ? 0 : FaultsOf(mapping->slot));
}

void AddSharedMemory(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "shmOpen", ShmOpen);
  Add(env, exports, "shmUnlink", ShmUnlink);
  Add(env, exports, "allocate", Allocate);
  Add(env, exports, "fstat", Fstat);
  Add(env, exports, "fchmod", Fchmod);
  Add(env, exports, "closeFd", CloseFd);
  Add(env, exports, "reopenFd", ReopenFd);
  Add(env, exports, "map", Map);
  Add(env, exports, "unmap", Unmap);
  Add(env, exports, "leave", Leave);
  Add(env, exports, "faults", Faults);
}

}  // namespace ptalk
