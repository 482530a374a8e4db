// errno to IpcError. TypeScript registers the class once, so that `instanceof IpcError` holds for every native failure.
#include <cerrno>
#include <cstring>
#include <vector>

#include "environment.h"

namespace ptalk {

Napi::Value ThrowErrno(Napi::Env env, const char* syscall, const std::string& path, int error) {
  if (error == 0) error = errno;
  Environment& mine = EnvironmentOf(env);
  if (mine.error_class.IsEmpty()) {
    Napi::Error::New(env, std::string(syscall) + " " + path + ": " + strerror(error)).ThrowAsJavaScriptException();
    return Napi::Value();
  }
  Napi::Value where = path.empty() ? env.Undefined() : Napi::String::New(env, path).As<Napi::Value>();
  napi_value arguments[] = {Napi::Number::New(env, error), Napi::String::New(env, syscall), where};
  Napi::Object thrown = mine.error_class.New(std::vector<napi_value>(arguments, arguments + 3));
  if (!env.IsExceptionPending() && !thrown.IsEmpty()) napi_throw(env, thrown);
  return Napi::Value();
}

static Napi::Value SetErrorClass(const Napi::CallbackInfo& info) {
  if (!info[0].IsFunction()) return ThrowErrno(info.Env(), "setErrorClass", "", EINVAL);
  EnvironmentOf(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

void AddErrors(Napi::Env env, Napi::Object exports) { Add(env, exports, "setErrorClass", SetErrorClass); }

}  // namespace ptalk
