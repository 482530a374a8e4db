// What one Node environment (the main thread or one worker thread) owns. Nothing here is shared between threads
// unless a shared_ptr says so, and nothing mutable is static: workers load, unload and die independently.
#pragma once

#include <napi.h>
#include <semaphore.h>

#include <map>
#include <memory>
#include <set>
#include <vector>

namespace ptalk {

// One sem_open. Shared, because a waiter thread may outlive the handle that started it.
class NamedSemaphore {
 public:
  explicit NamedSemaphore(sem_t* sem);
  ~NamedSemaphore();
  NamedSemaphore(const NamedSemaphore&) = delete;
  NamedSemaphore& operator=(const NamedSemaphore&) = delete;
  sem_t* const sem;
  const int slot;  // in the SIGBUS guard: its file, too, can be truncated by others; -1: no memory for one
};

class Waits;       // wait.h
class Signals;     // signals.h
struct UdpSocket;  // udp.h
struct Watch;      // watch.h

class Environment {
 public:
  Environment();
  // Also runs when a worker is terminated: cancels waits, closes what JavaScript left open.
  ~Environment();

  // The handle's semaphore, or nullptr.
  const std::shared_ptr<NamedSemaphore>* Find(int32_t handle) const {
    if (handle < 0 || static_cast<size_t>(handle) >= semaphores.size() || !semaphores[handle]) return nullptr;
    return &semaphores[handle];
  }

  Napi::FunctionReference error_class;
  std::set<int> descriptors;
  std::map<int, UdpSocket*> udp_sockets;  // by descriptor; each deletes itself when libuv has let go of it
  std::map<int32_t, Watch*> watches;  // by id; as the sockets
  int32_t last_watch = 0;
  std::vector<std::shared_ptr<NamedSemaphore>> semaphores;
  std::vector<int32_t> free_handles;
  // One word that JavaScript writes and the hot calls read; see sem.cc. The reference keeps it in place.
  int32_t* hot_handle = nullptr;
  Napi::ObjectReference hot_handle_owner;
  const std::unique_ptr<Waits> waits;
  const std::unique_ptr<Signals> signals;
};

inline Environment& EnvironmentOf(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

// Each file's functions, added to the addon's exports.
void AddErrors(Napi::Env env, Napi::Object exports);
void AddSharedMemory(Napi::Env env, Napi::Object exports);
void AddRecordLocks(Napi::Env env, Napi::Object exports);
void AddSemaphores(Napi::Env env, Napi::Object exports);
void AddWaits(Napi::Env env, Napi::Object exports);
void AddSignals(Napi::Env env, Napi::Object exports);
void AddProcesses(Napi::Env env, Napi::Object exports);
void AddSockets(Napi::Env env, Napi::Object exports);
void AddListeners(Napi::Env env, Napi::Object exports);
void AddPeers(Napi::Env env, Napi::Object exports);
void AddMessageQueues(Napi::Env env, Napi::Object exports);
void AddWatches(Napi::Env env, Napi::Object exports);
void AddTerminals(Napi::Env env, Napi::Object exports);
void AddUdp(Napi::Env env, Napi::Object exports);
void AddUserDatabase(Napi::Env env, Napi::Object exports);

using Callback = Napi::Value (*)(const Napi::CallbackInfo&);
inline void Add(Napi::Env env, Napi::Object exports, const char* name, Callback callback) {
  exports.Set(name, Napi::Function::New(env, callback, name));
}
// For the hottest calls: plain Node-API, the Environment as data, no wrapper objects.
void AddRaw(Napi::Env env, Napi::Object exports, const char* name, napi_callback callback);

// The one path from errno to JavaScript: throws IpcError(errno, syscall, path) and returns an empty value.
Napi::Value ThrowErrno(Napi::Env env, const char* syscall, const std::string& path = std::string(), int error = 0);

// The arguments as TypeScript passes them; a wrong type reads as -1, 0 or "" and the system call refuses it.
inline int Int(const Napi::CallbackInfo& info, size_t i) {
  int32_t value = -1;
  napi_get_value_int32(info.Env(), info[i], &value);
  return value;
}
inline int64_t Int64(const Napi::CallbackInfo& info, size_t i) {
  int64_t value = 0;
  napi_get_value_int64(info.Env(), info[i], &value);
  return value;
}
inline double Double(const Napi::CallbackInfo& info, size_t i) {
  double value = 0;
  napi_get_value_double(info.Env(), info[i], &value);
  return value;
}
inline bool Bool(const Napi::CallbackInfo& info, size_t i) {
  bool value = false;
  napi_get_value_bool(info.Env(), info[i], &value);
  return value;
}
inline std::string Text(const Napi::CallbackInfo& info, size_t i) {
  return info[i].IsString() ? info[i].As<Napi::String>().Utf8Value() : std::string();
}

}  // namespace ptalk
