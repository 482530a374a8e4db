// The addon's door: one Environment per thread of Node, and each file's functions by name.
#include <unistd.h>

#include "environment.h"
#include "signals.h"
#include "udp.h"
#include "wait.h"

namespace ptalk {

Environment::Environment() : waits(std::make_unique<Waits>()), signals(std::make_unique<Signals>()) {}

Environment::~Environment() {
  for (int fd : descriptors) close(fd);
  // Those that are being read have been closed by their own hooks, earlier.
  for (const auto& [fd, socket] : udp_sockets) {
    close(fd);
    delete socket;
  }
}

void AddRaw(Napi::Env env, Napi::Object exports, const char* name, napi_callback callback) {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, &EnvironmentOf(env), &function);
  exports.Set(name, function);
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  AddErrors(env, exports);
  AddSharedMemory(env, exports);
  AddRecordLocks(env, exports);
  AddSemaphores(env, exports);
  AddWaits(env, exports);
  AddSignals(env, exports);
  AddProcesses(env, exports);
  AddSockets(env, exports);
  AddListeners(env, exports);
  AddPeers(env, exports);
  AddMessageQueues(env, exports);
  AddWatches(env, exports);
  AddTerminals(env, exports);
  AddUdp(env, exports);
  AddUserDatabase(env, exports);
  return exports;
}

}  // namespace ptalk

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return ptalk::Init(env, exports); }
NODE_API_MODULE(ptalk, InitAddon)
