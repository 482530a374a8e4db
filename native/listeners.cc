// Sockets that listen on a TCP port, by sock_diag(7). proc_net_tcp(5) says the same, but the kernel goes through its whole table of
// connections for it: 5 ms for a file, whatever is in it.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "environment.h"

namespace ptalk {

static constexpr uint32_t kListening = 1u << 10;  // TCP_LISTEN, tcp_states.h
static constexpr size_t kBufferBytes = 32 * 1024;

// Each 32-bit word in hexadecimal, as in proc_net_tcp(5).
static std::string HexAddress(const inet_diag_msg& socket) {
  const int words = socket.idiag_family == AF_INET6 ? 4 : 1;
  std::string text;
  for (int i = 0; i < words; i++) {
    char word[9];
    snprintf(word, sizeof word, "%08X", socket.id.idiag_src[i]);
    text += word;
  }
  return text;
}

// False at the end of the answer, and with an errno in `error` when it is a refusal.
static bool ReadAnswer(Napi::Env env, const char* bytes, size_t length, Napi::Array found, int* error) {
  size_t left = length;
  for (auto* header = reinterpret_cast<const nlmsghdr*>(bytes); NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
    if (header->nlmsg_type == NLMSG_DONE) return false;
    if (header->nlmsg_type == NLMSG_ERROR) {
      *error = header->nlmsg_len < NLMSG_LENGTH(sizeof(nlmsgerr))
                   ? EPROTO
                   : -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
      return false;
    }
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) continue;
    const auto& socket = *static_cast<const inet_diag_msg*>(NLMSG_DATA(header));
    Napi::Object row = Napi::Object::New(env);
    row.Set("address", HexAddress(socket));
    row.Set("uid", Napi::Number::New(env, socket.idiag_uid));
    row.Set("inode", Napi::Number::New(env, socket.idiag_inode));
    found.Set(found.Length(), row);
  }
  return true;
}

// tcpListeners(isIPv6, port): [{address, uid, inode}], the address in the form of proc_net_tcp(5). Fails where the
// kernel or a sandbox has no sock_diag.
static Napi::Value TcpListeners(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return ThrowErrno(env, "socket");
  struct {
    nlmsghdr header;
    inet_diag_req_v2 body;
  } request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = info[0].As<Napi::Boolean>().Value() ? AF_INET6 : AF_INET;
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = kListening;
  request.body.id.idiag_sport = htons(static_cast<uint16_t>(Int(info, 1)));
  Napi::Array found = Napi::Array::New(env);
  int error = send(fd, &request, sizeof request, 0) == sizeof request ? 0 : errno;
  alignas(nlmsghdr) char buffer[kBufferBytes];
  for (bool more = error == 0; more;) {
    // A dump is written by the call that reads it: nothing is waited for.
    const ssize_t length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) {
      error = length < 0 ? errno : EPROTO;
      break;
    }
    more = ReadAnswer(env, buffer, static_cast<size_t>(length), found, &error);
  }
  close(fd);
  return error != 0 ? ThrowErrno(env, "sock_diag", "", error) : found;
}

void AddListeners(Napi::Env env, Napi::Object exports) { Add(env, exports, "tcpListeners", TcpListeners); }

}  // namespace ptalk
