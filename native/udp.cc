// UDP sockets (udp(7)) for those to whom node:dgram is too slow: it allocates for every datagram, makes an object of its
// sender, and asks the kernel once more after the last. Here what has arrived is read in one recvmmsg(2) into memory of
// JavaScript's own, and JavaScript is called once for all of it.
#include "udp.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ptalk {

// libuv's: they know zones (fe80::1%eth0).
static bool Parse(const char* address, int port, bool ipv6, sockaddr_in6* to) {
  memset(to, 0, sizeof *to);
  return (ipv6 ? uv_ip6_addr(address, port, to) : uv_ip4_addr(address, port, reinterpret_cast<sockaddr_in*>(to))) == 0;
}

static socklen_t Length(bool ipv6) { return ipv6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }

UdpSocket::UdpSocket(Napi::Env env, int fd, bool ipv6)
    : env(env), fd(fd), ipv6(ipv6), context(env, "ptalk:udp") {}

void UdpSocket::OnReadable(uv_poll_t* poll, int status, int) {
  auto* socket = static_cast<UdpSocket*>(poll->data);
  const int result = socket->Receive(status);
  if (result == -EAGAIN) return;
  if (result >= 0) {
    socket->failures = 0;
    for (int i = 0; i < result; i++) socket->Describe(i);
  } else if (++socket->failures < kUdpFailures) {
    uv_poll_start(poll, UV_READABLE, OnReadable);  // libuv has stopped it where the socket reported an error
  } else {
    uv_poll_stop(poll);
  }
  socket->Call(result);
}

// How many datagrams, all that there are or kUdpBatch (the rest is asked for again by the loop, which is level-triggered), or a
// negated errno.
int UdpSocket::Receive(int status) {
  if (status != 0) {
    int error = 0;  // reading it clears it
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error != 0 ? -error : status;
  }
  for (mmsghdr& header : headers) header.msg_hdr.msg_namelen = sizeof(sockaddr_in6);
  int result;
  do {
    result = recvmmsg(fd, headers, kUdpBatch, MSG_DONTWAIT, nullptr);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

void UdpSocket::Describe(int i) {
  const sockaddr_in6& from = names[i];
  int32_t* words = meta + i * kUdpMetaWords;
  words[0] = static_cast<int32_t>(headers[i].msg_len);
  words[1] = ntohs(from.sin6_port);  // at the same place in sockaddr_in
  memset(words + 2, 0, 5 * sizeof(int32_t));
  if (ipv6) {
    memcpy(words + 2, &from.sin6_addr, sizeof from.sin6_addr);
    words[6] = static_cast<int32_t>(from.sin6_scope_id);
  } else {
    memcpy(words + 2, &reinterpret_cast<const sockaddr_in&>(from).sin_addr, sizeof(in_addr));
  }
}

// Plain Node-API: when a worker thread is being terminated every call fails, and that is no error of anybody.
void UdpSocket::Call(int result) {
  Napi::HandleScope scope(env);
  napi_value global = nullptr;
  napi_value argument = nullptr;
  if (napi_get_global(env, &global) != napi_ok || napi_create_int32(env, result, &argument) != napi_ok) return;
  const napi_status status = napi_make_callback(env, context, global, callback.Value(), 1, &argument, nullptr);
  napi_value exception = nullptr;
  // Nobody is above us to catch it: as one thrown by any other callback of the event loop.
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok)
    napi_fatal_exception(env, exception);
}

void UdpSocket::Close() {
  if (closing) return;
  closing = true;
  EnvironmentOf(env).udp_sockets.erase(fd);
  if (!polling) {
    close(fd);
    delete this;
    return;
  }
  uv_poll_stop(&poll);
  // The handle is libuv's until it says so; the descriptor goes first, so that the port is free when JavaScript goes on.
  close(fd);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll), [](uv_handle_t* handle) {
    auto* socket = static_cast<UdpSocket*>(handle->data);
    const napi_async_cleanup_hook_handle cleanup = socket->cleanup;
    {
      Napi::HandleScope scope(socket->env);
      delete socket;
    }
    napi_remove_async_cleanup_hook(cleanup);  // the environment may end now
  });
}

// udpOpen(address, port, ipv6, bufferBytes): the socket's descriptor. "::" takes IPv4 too.
static Napi::Value UdpOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string address = Text(info, 0);
  const int port = Int(info, 1);
  const bool ipv6 = Bool(info, 2);
  sockaddr_in6 own;
  if (port < 0 || port > 65535 || !Parse(address.c_str(), port, ipv6, &own)) return ThrowErrno(env, "bind", address, EINVAL);
  const int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ThrowErrno(env, "socket", address);
  const int off = 0;
  if (ipv6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  // As much of it as the system allows (net.core.rmem_max).
  const int bytes = Int(info, 3);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  if (bind(fd, reinterpret_cast<sockaddr*>(&own), Length(ipv6)) < 0) {
    const int error = errno;
    close(fd);
    return ThrowErrno(env, "bind", address, error);
  }
  EnvironmentOf(env).udp_sockets[fd] = new UdpSocket(env, fd, ipv6);
  return Napi::Number::New(env, fd);
}

static UdpSocket* Find(const Napi::CallbackInfo& info) {
  auto& sockets = EnvironmentOf(info.Env()).udp_sockets;
  const auto found = sockets.find(Int(info, 0));
  return found == sockets.end() ? nullptr : found->second;
}

static Napi::Value UdpPort(const Napi::CallbackInfo& info) {
  sockaddr_in6 own;
  socklen_t length = sizeof own;
  if (getsockname(Int(info, 0), reinterpret_cast<sockaddr*>(&own), &length) < 0) return ThrowErrno(info.Env(), "getsockname");
  return Napi::Number::New(info.Env(), ntohs(own.sin6_port));
}

// udpReceive(fd, bytes, meta, callback): from now on. `bytes` has kUdpBatch slots of equal size, `meta` kUdpMetaWords for
// each: length, port, address (16 bytes; IPv4: 4), zone. The callback is told how many have come, or a negated errno.
static Napi::Value UdpReceive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  UdpSocket* socket = Find(info);
  uv_loop_t* loop = nullptr;
  if (socket == nullptr || socket->polling || napi_get_uv_event_loop(env, &loop) != napi_ok)
    return ThrowErrno(env, "recvmmsg", "", EBADF);
  auto bytes = info[1].As<Napi::Uint8Array>();
  auto meta = info[2].As<Napi::Int32Array>();
  const size_t slot = bytes.ByteLength() / kUdpBatch;
  if (slot == 0 || meta.ElementLength() < kUdpBatch * kUdpMetaWords) return ThrowErrno(env, "recvmmsg", "", EINVAL);
  socket->owners = Napi::Persistent(Napi::Object::New(env));
  socket->owners.Set("bytes", bytes);
  socket->owners.Set("meta", meta);
  socket->callback = Napi::Persistent(info[3].As<Napi::Function>());
  socket->meta = meta.Data();
  memset(socket->headers, 0, sizeof socket->headers);
  for (int i = 0; i < kUdpBatch; i++) {
    socket->slots[i] = {bytes.Data() + i * slot, slot};
    msghdr& header = socket->headers[i].msg_hdr;
    header.msg_name = &socket->names[i];
    header.msg_iov = &socket->slots[i];
    header.msg_iovlen = 1;
  }
  int error = uv_poll_init(loop, &socket->poll, socket->fd);
  if (error != 0) return ThrowErrno(env, "epoll_ctl", "", -error);
  socket->polling = true;
  socket->poll.data = socket;
  // The environment of a worker thread may end with the socket open: libuv's handle has to be closed first, which takes a turn.
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { static_cast<UdpSocket*>(data)->Close(); }, socket,
      &socket->cleanup);
  error = uv_poll_start(&socket->poll, UV_READABLE, UdpSocket::OnReadable);
  if (error != 0) return ThrowErrno(env, "epoll_ctl", "", -error);
  return env.Undefined();
}

// udpRead(fd): what has come and was not read yet, as the callback is told of it, at once; a negated errno for none. An error of the
// socket is left to the callback.
static Napi::Value UdpRead(const Napi::CallbackInfo& info) {
  UdpSocket* socket = Find(info);
  if (socket == nullptr || !socket->polling) return Napi::Number::New(info.Env(), -EBADF);
  const int result = socket->Receive(0);
  for (int i = 0; i < result; i++) socket->Describe(i);
  return Napi::Number::New(info.Env(), result);
}

// udpSource(fd, i): the address of datagram i of the present batch, as text.
static Napi::Value UdpSource(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  UdpSocket* socket = Find(info);
  const int i = Int(info, 1);
  if (socket == nullptr || i < 0 || i >= kUdpBatch) return ThrowErrno(env, "recvmmsg", "", EINVAL);
  const sockaddr_in6& from = socket->names[i];
  char text[INET6_ADDRSTRLEN + 1 + UV_IF_NAMESIZE];
  if (socket->ipv6) {
    uv_ip6_name(&from, text, sizeof text);
    if (IN6_IS_ADDR_LINKLOCAL(&from.sin6_addr) && from.sin6_scope_id != 0) {
      const size_t length = strlen(text);
      size_t room = sizeof text - length - 1;
      if (uv_if_indextoiid(from.sin6_scope_id, text + length + 1, &room) == 0) text[length] = '%';
    }
  } else {
    uv_ip4_name(reinterpret_cast<const sockaddr_in*>(&from), text, sizeof text);
  }
  return Napi::String::New(env, text);
}

// udpSend(fd, datagram, address, port): 0, or the errno. Plain Node-API: it is called for every datagram.
static napi_value UdpSend(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  size_t count = 4;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  auto& sockets = static_cast<Environment*>(data)->udp_sockets;
  int32_t fd = -1;
  int32_t port = 0;
  void* bytes = nullptr;
  size_t length = 0;
  char address[INET6_ADDRSTRLEN + 1 + UV_IF_NAMESIZE];
  size_t written = 0;
  napi_get_value_int32(env, arguments[0], &fd);
  napi_get_typedarray_info(env, arguments[1], nullptr, &length, &bytes, nullptr, nullptr);
  napi_get_value_string_utf8(env, arguments[2], address, sizeof address, &written);
  napi_get_value_int32(env, arguments[3], &port);
  const auto found = sockets.find(fd);
  int error = 0;
  sockaddr_in6 to;
  if (found == sockets.end()) {
    error = EBADF;
  } else if (!Parse(address, port, found->second->ipv6, &to)) {
    error = EINVAL;
  } else {
    ssize_t sent;
    do {
      sent = sendto(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to),
                    Length(found->second->ipv6));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) error = errno;
  }
  napi_value result;
  napi_create_int32(env, error, &result);
  return result;
}

static Napi::Value UdpClose(const Napi::CallbackInfo& info) {
  if (UdpSocket* socket = Find(info)) socket->Close();
  return info.Env().Undefined();
}

void AddUdp(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "udpOpen", UdpOpen);
  Add(env, exports, "udpPort", UdpPort);
  Add(env, exports, "udpReceive", UdpReceive);
  Add(env, exports, "udpRead", UdpRead);
  Add(env, exports, "udpSource", UdpSource);
  AddRaw(env, exports, "udpSend", UdpSend);
  Add(env, exports, "udpClose", UdpClose);
  exports.Set("udpBatch", Napi::Number::New(env, kUdpBatch));
  exports.Set("udpMetaWords", Napi::Number::New(env, kUdpMetaWords));
}

}  // namespace ptalk
