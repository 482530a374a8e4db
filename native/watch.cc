// What node:fs and node:net have no words for: waiting until a descriptor of any kind (a pidfd, a message queue, a Unix socket that
// somebody else reads) can be read or written. poll(2), through the event loop's own epoll.
#include "watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace ptalk {

// Plain Node-API: when a worker thread is being terminated every call fails, and that is no error of anybody.
static void Call(Napi::Env env, napi_async_context context, napi_value callback, int status) {
  napi_value global = nullptr;
  napi_value argument = nullptr;
  if (napi_get_global(env, &global) != napi_ok || napi_create_int32(env, status, &argument) != napi_ok) return;
  const napi_status called = napi_make_callback(env, context, global, callback, 1, &argument, nullptr);
  napi_value exception = nullptr;
  if (called == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok)
    napi_fatal_exception(env, exception);
}

static void OnReady(uv_poll_t* poll, int status, int) {
  auto* watch = static_cast<Watch*>(poll->data);
  const Napi::Env env = watch->env;
  Napi::HandleScope scope(env);
  const napi_value callback = watch->callback.Value();
  napi_async_context context = watch->context;
  watch->Close();  // the object itself lives until the loop's next turn
  Call(env, context, callback, status);
}

void Watch::Close() {
  if (closing) return;
  closing = true;
  EnvironmentOf(env).watches.erase(id);
  uv_poll_stop(&poll);
  close(fd);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll), [](uv_handle_t* handle) {
    auto* watch = static_cast<Watch*>(handle->data);
    const napi_async_cleanup_hook_handle cleanup = watch->cleanup;
    {
      Napi::HandleScope scope(watch->env);
      delete watch;
    }
    napi_remove_async_cleanup_hook(cleanup);
  });
}

// watchStart(fd, writable, callback): calls back once, with 0 or a negated errno, and is over with that. The descriptor stays its owner's,
// who may close it at any time.
static Napi::Value WatchStart(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Environment& mine = EnvironmentOf(env);
  uv_loop_t* loop = nullptr;
  if (!info[2].IsFunction() || napi_get_uv_event_loop(env, &loop) != napi_ok) return ThrowErrno(env, "poll", "", EINVAL);
  const int fd = fcntl(Int(info, 0), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return ThrowErrno(env, "poll");
  auto* watch = new Watch(env, mine.last_watch = mine.last_watch == INT32_MAX ? 1 : mine.last_watch + 1, fd);
  int error = uv_poll_init(loop, &watch->poll, fd);
  if (error != 0) {
    close(fd);
    delete watch;
    return ThrowErrno(env, "poll", "", -error);
  }
  watch->poll.data = watch;
  watch->callback = Napi::Persistent(info[2].As<Napi::Function>());
  mine.watches[watch->id] = watch;
  // A worker thread may end meanwhile: libuv's handle has to be closed first, which takes a turn.
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { static_cast<Watch*>(data)->Close(); }, watch,
      &watch->cleanup);
  const int32_t id = watch->id;
  error = uv_poll_start(&watch->poll, Bool(info, 1) ? UV_WRITABLE : UV_READABLE, OnReady);
  if (error != 0) {
    watch->Close();
    return ThrowErrno(env, "poll", "", -error);
  }
  return Napi::Number::New(env, id);
}

// Nothing happens when it has called back already.
static Napi::Value WatchStop(const Napi::CallbackInfo& info) {
  auto& watches = EnvironmentOf(info.Env()).watches;
  const auto found = watches.find(Int(info, 0));
  if (found != watches.end()) found->second->Close();
  return info.Env().Undefined();
}

void AddWatches(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "watchStart", WatchStart);
  Add(env, exports, "watchStop", WatchStop);
}

}  // namespace ptalk
