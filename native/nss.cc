// One service of the system's user database, asked alone: nss(5), nsswitch.conf(5). getpwnam(3) merges the services' answers, and
// a service that is away looks like one that does not know the user.
#include <dlfcn.h>
#include <pwd.h>
#if __has_include(<nss.h>)
#include <nss.h>
#else  // musl has one service, the file
enum nss_status { NSS_STATUS_TRYAGAIN = -2, NSS_STATUS_UNAVAIL, NSS_STATUS_NOTFOUND, NSS_STATUS_SUCCESS };
#endif

#include <cerrno>
#include <string>
#include <vector>

#include "environment.h"

namespace ptalk {

using ByName = nss_status (*)(const char*, passwd*, char*, size_t, int*);
using ByUid = nss_status (*)(uid_t, passwd*, char*, size_t, int*);

constexpr size_t kFirstBuffer = 4096;
// A user's line is longer than this nowhere; a module that always asks for more is broken.
constexpr size_t kMaxBuffer = 1024 * 1024;

// The function of a service's module, as glibc itself finds it; the service "files" is in libc since glibc 2.34.
static void* FunctionOf(const std::string& service, const char* what) {
  const std::string symbol = "_nss_" + service + "_" + what;
  if (void* found = dlsym(RTLD_DEFAULT, symbol.c_str())) return found;
  void* module = dlopen(("libnss_" + service + ".so.2").c_str(), RTLD_NOW);
  return module == nullptr ? nullptr : dlsym(module, symbol.c_str());
}

// Where the file is no module: POSIX's functions, which then ask nothing else.
static nss_status FileByName(const char* login, passwd* entry, char* buffer, size_t size, int* error) {
  passwd* found = nullptr;
  *error = getpwnam_r(login, entry, buffer, size, &found);
  return *error != 0 ? NSS_STATUS_TRYAGAIN : found == nullptr ? NSS_STATUS_NOTFOUND : NSS_STATUS_SUCCESS;
}
static nss_status FileByUid(uid_t uid, passwd* entry, char* buffer, size_t size, int* error) {
  passwd* found = nullptr;
  *error = getpwuid_r(uid, entry, buffer, size, &found);
  return *error != 0 ? NSS_STATUS_TRYAGAIN : found == nullptr ? NSS_STATUS_NOTFOUND : NSS_STATUS_SUCCESS;
}

// nssLookup(service, login or uid): null without such a module, else [status, uid, login], with the status of nss.h: 1 found, 0 no such
// user, below 0 unknown. Blocks for as long as the service does.
static Napi::Value NssLookup(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string service = Text(info, 0);
  const bool by_name = info[1].IsString();
  const std::string login = Text(info, 1);
  const uid_t uid = static_cast<uid_t>(Int64(info, 1));
  void* function = FunctionOf(service, by_name ? "getpwnam_r" : "getpwuid_r");
  if (function == nullptr && service == "files")
    function = by_name ? reinterpret_cast<void*>(FileByName) : reinterpret_cast<void*>(FileByUid);
  if (function == nullptr) return env.Null();
  passwd entry = {};
  std::vector<char> buffer(kFirstBuffer);
  nss_status status;
  int error;
  for (;;) {
    error = 0;
    status = by_name ? reinterpret_cast<ByName>(function)(login.c_str(), &entry, buffer.data(), buffer.size(), &error)
                     : reinterpret_cast<ByUid>(function)(uid, &entry, buffer.data(), buffer.size(), &error);
    if (status != NSS_STATUS_TRYAGAIN || error != ERANGE || buffer.size() >= kMaxBuffer) break;
    buffer.resize(buffer.size() * 2);
  }
  Napi::Array result = Napi::Array::New(env, 3);
  result.Set(0u, static_cast<double>(status));
  if (status == NSS_STATUS_SUCCESS) {
    result.Set(1u, static_cast<double>(entry.pw_uid));
    result.Set(2u, Napi::String::New(env, entry.pw_name));
  }
  return result;
}

void AddUserDatabase(Napi::Env env, Napi::Object exports) { Add(env, exports, "nssLookup", NssLookup); }

}  // namespace ptalk
