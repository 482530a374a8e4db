// What Node cannot do with a terminal: tcflush(3).
#include <termios.h>

#include "environment.h"

namespace ptalk {

static Napi::Value DiscardInput(const Napi::CallbackInfo& info) {
  return tcflush(Int(info, 0), TCIFLUSH) < 0 ? ThrowErrno(info.Env(), "tcflush") : info.Env().Undefined();
}

void AddTerminals(Napi::Env env, Napi::Object exports) { Add(env, exports, "discardInput", DiscardInput); }

}  // namespace ptalk
