// UDP sockets (udp(7)), faster than node:dgram, which allocates for every datagram, makes an object of its sender, and
// asks the kernel once more after the last. One recvmmsg(2) reads all datagrams that have arrived into memory of
// JavaScript's own, and one callback tells of all of them.
#include "udp.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
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

// True for an error of an earlier datagram: the kernel reports it once, in place of sending.
static bool IsOfAnother(int error) {
  return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == EACCES || error == EPROTO ||
         error == ENOPROTOOPT || error == EHOSTDOWN || error == EMSGSIZE || error == EOPNOTSUPP;
}

UdpSocket::UdpSocket(Napi::Env env, int fd, bool ipv6)
    : env(env), fd(fd), ipv6(ipv6), context(env, "ptalk:udp") {}

void UdpSocket::OnReadable(uv_poll_t* poll, int status, int) {
  auto* socket = static_cast<UdpSocket*>(poll->data);
  // Errors first: until they are read the kernel reports them in place of something else, and the socket stays readable.
  if (status != 0 && socket->TellErrors()) status = 0;
  if (socket->closing) return;
  int result = socket->Receive(status);
  if (result < 0 && IsOfAnother(-result) && socket->TellErrors()) {
    if (socket->closing) return;
    result = socket->Receive(0);
  }
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

// Reads up to kUdpBatch datagrams and returns how many, or a negated errno. The poll is level-triggered: the loop asks for the
// rest again.
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

// Returns whether there were any. Starts the poll again: libuv stops it when the socket reports an error.
bool UdpSocket::TellErrors() {
  if (!ReadErrors()) return false;
  failures = 0;
  uv_poll_start(&poll, UV_READABLE, OnReadable);
  if (!errors.empty()) Call(kUdpErrorsCame);
  return true;
}

// Reads the ICMP errors of our datagrams: the destination, and the errno that each stands for. One about a size (EMSGSIZE) is not
// believed. Returns whether there was any.
bool UdpSocket::ReadErrors() {
  bool any = false;
  for (int i = 0; i < kUdpBatch * 4; i++) {
    UdpError found = {};
    char control[256];
    msghdr message = {};
    message.msg_name = &found.to;
    message.msg_namelen = sizeof found.to;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return any;
    any = true;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      const bool is4 = header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR;
      const bool is6 = header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR;
      if (!is4 && !is6) continue;
      sock_extended_err extended;
      memcpy(&extended, CMSG_DATA(header), sizeof extended);
      found.error = static_cast<int>(extended.ee_errno);
      // Linux makes "host unreachable" of a firewall's prohibition (RFC 1812 section 5.2.7.1: codes 9, 10 and 13).
      const bool unreachable4 = extended.ee_origin == SO_EE_ORIGIN_ICMP && extended.ee_type == 3;
      if (unreachable4 && (extended.ee_code == 9 || extended.ee_code == 10 || extended.ee_code == 13)) found.error = EACCES;
    }
    const bool counts = found.error != 0 && found.error != EMSGSIZE;
    if (counts && errors.size() < kUdpErrors) errors.push_back(found);
  }
  return any;
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
  // No caller of ours can catch it: it ends as an exception of any other callback of the event loop does.
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
  // Datagrams go whole or not at all: their sender finds out how large they may be (RFC 8899), and what an ICMP message says of that is
  // not believed. The IPv4 option counts for IPv4 through an IPv6 socket, too.
  const int probe4 = IP_PMTUDISC_PROBE;
  const int probe6 = IPV6_PMTUDISC_PROBE;
  setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe4, sizeof probe4);
  if (ipv6) setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof probe6);
  // ReadErrors() tells what ICMP says of the others.
  const int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
  if (ipv6) setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
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

// udpRead(fd): the datagrams that have come and were not read yet, in the callback's form, at once; a negated errno for
// none. An error of the socket is left to the callback.
static Napi::Value UdpRead(const Napi::CallbackInfo& info) {
  UdpSocket* socket = Find(info);
  if (socket == nullptr || !socket->polling) return Napi::Number::New(info.Env(), -EBADF);
  const int result = socket->Receive(0);
  for (int i = 0; i < result; i++) socket->Describe(i);
  return Napi::Number::New(info.Env(), result);
}

// udpErrors(fd): [errno, port, address…] of the ICMP errors that have come; they are told once.
static Napi::Value UdpErrors(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  UdpSocket* socket = Find(info);
  Napi::Array told = Napi::Array::New(env);
  if (socket == nullptr) return told;
  for (const UdpError& one : socket->errors) {
    char text[INET6_ADDRSTRLEN];
    const bool is6 = one.to.sin6_family == AF_INET6;
    if (is6) {
      uv_ip6_name(&one.to, text, sizeof text);
    } else {
      uv_ip4_name(reinterpret_cast<const sockaddr_in*>(&one.to), text, sizeof text);
    }
    told.Set(told.Length(), Napi::Number::New(env, one.error));
    told.Set(told.Length(), Napi::Number::New(env, ntohs(one.to.sin6_port)));
    told.Set(told.Length(), Napi::String::New(env, text));
  }
  socket->errors.clear();
  return told;
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
    int attempts = 0;
    do {
      sent = sendto(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to),
                    Length(found->second->ipv6));
    } while (sent < 0 && (errno == EINTR || (IsOfAnother(errno) && attempts++ == 0)));
    if (sent < 0) error = errno;
  }
  napi_value result;
  napi_create_int32(env, error, &result);
  return result;
}

// One sendto(2), or, of several datagrams that are all of the first one's length but for a shorter last, one sendmsg(2) that the kernel
// cuts up (udp(7), UDP_SEGMENT): the way through the kernel is gone once for all of them. 0 or the errno.
static int SendRun(UdpSocket* socket, uint8_t* bytes, size_t length, uint16_t segment, sockaddr_in6* to) {
  iovec part = {bytes, length};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof segment)] = {};
  msghdr message = {};
  message.msg_name = to;
  message.msg_namelen = Length(socket->ipv6);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (segment != 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(header), &segment, sizeof segment);
  }
  ssize_t sent;
  int attempts = 0;
  do {
    sent = sendmsg(socket->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && (errno == EINTR || (IsOfAnother(errno) && attempts++ == 0)));
  return sent < 0 ? errno : 0;
}

// True if the kernel, or the interface on the way, does not cut datagrams up.
static bool IsWithoutSegments(int error) {
  return error == EINVAL || error == EIO || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

// udpSendMany(fd, bytes, lengths, count, address, port): the datagrams that stand one behind the other in `bytes`. 0, or the last errno.
static Napi::Value UdpSendMany(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  UdpSocket* socket = Find(info);
  auto bytes = info[1].As<Napi::Uint8Array>();
  auto lengths = info[2].As<Napi::Int32Array>();
  const size_t count = static_cast<size_t>(Int(info, 3));
  const std::string address = Text(info, 4);
  sockaddr_in6 to;
  if (socket == nullptr) return Napi::Number::New(env, EBADF);
  if (count > lengths.ElementLength() || !Parse(address.c_str(), Int(info, 5), socket->ipv6, &to)) {
    return Napi::Number::New(env, EINVAL);
  }
  int error = 0;
  size_t at = 0;
  for (size_t i = 0; i < count;) {
    const int32_t segment = lengths[i];
    size_t run = 0;
    size_t length = 0;
    for (bool goes_on = true; goes_on && i + run < count && run < kUdpSegments;) {
      const int32_t next = lengths[i + run];
      if (next <= 0 || next > segment || at + length + next > bytes.ByteLength()) break;
      goes_on = next == segment && socket->segments;  // a shorter one is the last
      length += next;
      run++;
    }
    if (run == 0) return Napi::Number::New(env, EINVAL);
    const int failed = SendRun(socket, bytes.Data() + at, length, run > 1 ? segment : 0, &to);
    if (run > 1 && IsWithoutSegments(failed)) {
      socket->segments = false;  // these once more, one by one
      continue;
    }
    if (run > 1 && failed == EMSGSIZE) {
      // One of them may be too large for the way; the others are not.
      for (size_t one = 0, from = at; one < run; from += lengths[i + one], one++) {
        const int alone = SendRun(socket, bytes.Data() + from, lengths[i + one], 0, &to);
        if (alone != 0) error = alone;
      }
    } else if (failed != 0) {
      error = failed;
    }
    at += length;
    i += run;
  }
  return Napi::Number::New(env, error);
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
  Add(env, exports, "udpErrors", UdpErrors);
  AddRaw(env, exports, "udpSend", UdpSend);
  Add(env, exports, "udpSendMany", UdpSendMany);
  Add(env, exports, "udpClose", UdpClose);
  exports.Set("udpErrorsCame", Napi::Number::New(env, kUdpErrorsCame));
  exports.Set("udpBatch", Napi::Number::New(env, kUdpBatch));
  exports.Set("udpMetaWords", Napi::Number::New(env, kUdpMetaWords));
}

}  // namespace ptalk
