// What Node's sockets cannot do: sd_notify(3)'s one datagram to a Unix socket (unix(7)), a listening Unix socket whose
// path no close unlinks, the family of a descriptor that was handed over, and TCP_USER_TIMEOUT (tcp(7)).
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "environment.h"

namespace ptalk {

// notify(path, text): "@name" is a name in the abstract namespace.
static Napi::Value Notify(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const std::string text = info[1].As<Napi::String>().Utf8Value();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return ThrowErrno(env, "sendto", path, ENAMETOOLONG);
  memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ThrowErrno(env, "socket", path);
  const socklen_t length = offsetof(sockaddr_un, sun_path) + path.size();
  const ssize_t sent =
      sendto(fd, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), length);
  const int error = errno;
  close(fd);
  return sent < 0 ? ThrowErrno(env, "sendto", path, error) : env.Undefined();
}

// listenUnix(path, mode, backlog): a descriptor. libuv would unlink the path when it closes the socket, even if another
// socket has the path by then.
static Napi::Value ListenUnix(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = Text(info, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return ThrowErrno(env, "bind", path, ENAMETOOLONG);
  memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ThrowErrno(env, "socket", path);
  // The mode is there from the first moment, and never another file's.
  const mode_t before = umask(0777 & ~static_cast<mode_t>(Int(info, 1)));
  const int bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  int error = errno;
  umask(before);
  if (bound == 0) {
    if (listen(fd, Int(info, 2)) == 0) return Napi::Number::New(env, fd);
    error = errno;
    unlink(path.c_str());
  }
  close(fd);
  return ThrowErrno(env, bound == 0 ? "listen" : "bind", path, error);
}

// isUnixSocket(fd): whether that is a descriptor of a Unix socket.
static Napi::Value IsUnixSocket(const Napi::CallbackInfo& info) {
  int domain = 0;
  socklen_t length = sizeof domain;
  const bool is = getsockopt(Int(info, 0), SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
  return Napi::Boolean::New(info.Env(), is);
}

// setUserTimeout(fd, ms)
static Napi::Value SetUserTimeout(const Napi::CallbackInfo& info) {
  const unsigned int ms = static_cast<unsigned int>(Int(info, 1));
  const int failed = setsockopt(Int(info, 0), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
  return failed != 0 ? ThrowErrno(info.Env(), "setsockopt") : info.Env().Undefined();
}

void AddSockets(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "notify", Notify);
  Add(env, exports, "listenUnix", ListenUnix);
  Add(env, exports, "isUnixSocket", IsUnixSocket);
  Add(env, exports, "setUserTimeout", SetUserTimeout);
}

}  // namespace ptalk
