// A descriptor that the event loop waits for: once, then it is forgotten.
#pragma once

#include <uv.h>

#include "environment.h"

namespace ptalk {

struct Watch {
  Watch(Napi::Env env, int32_t id, int fd) : env(env), id(id), fd(fd), context(env, "ptalk:watch") {}
  // Nothing may touch it afterwards.
  void Close();

  const Napi::Env env;
  const int32_t id;
  const int fd;  // a number of its own for the file: the loop knows one watcher a number, and Node may have one already
  uv_poll_t poll;
  bool closing = false;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  Napi::AsyncContext context;
  Napi::FunctionReference callback;
};

}  // namespace ptalk
