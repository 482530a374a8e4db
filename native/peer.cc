// Who is at the other end of a Unix socket, and descriptors sent over it: unix(7), SO_PEERCRED, SO_PEERPIDFD, SCM_RIGHTS.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "environment.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

namespace ptalk {

// SCM_MAX_FD of the kernel: the most descriptors in one message.
constexpr int kMaxDescriptors = 253;

// A TCP connection has no credentials: the kernel would answer with pid 0 and uid -1.
static bool IsUnix(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0) return false;
  if (domain == AF_UNIX) return true;
  errno = EOPNOTSUPP;
  return false;
}

// {pid, uid, gid} of the other end, when it connected (or listened).
static Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = Int(info, 0);
  ucred credentials;
  socklen_t length = sizeof credentials;
  if (!IsUnix(fd) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
    return ThrowErrno(env, "getsockopt");
  // What the kernel answers for a socket without a peer. No user has this number.
  if (credentials.uid == static_cast<uid_t>(-1)) return ThrowErrno(env, "getsockopt", "", ENOTCONN);
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", static_cast<double>(credentials.pid));
  result.Set("uid", static_cast<double>(credentials.uid));
  result.Set("gid", static_cast<double>(credentials.gid));
  return result;
}

// A pidfd of the other end, the caller's to close; -1 where the kernel has none, or none any more for a process that is gone.
static Napi::Value PeerPidfd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int pidfd = -1;
  socklen_t length = sizeof pidfd;
  if (getsockopt(Int(info, 0), SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) < 0) {
    if (errno == ENOPROTOOPT || errno == EINVAL || errno == ESRCH || errno == ENODATA) return Napi::Number::New(env, -1);
    return ThrowErrno(env, "getsockopt");
  }
  return Napi::Number::New(env, pidfd);
}

// sendDescriptors(fd, bytes, descriptors): how many of the bytes were sent, the descriptors, if any, with the first; 0 when there is no
// room now.
static Napi::Value SendDescriptors(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[1].IsTypedArray() || !info[2].IsTypedArray() ||
      info[2].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    return ThrowErrno(env, "sendmsg", "", EINVAL);
  const auto bytes = info[1].As<Napi::TypedArray>();
  const auto descriptors = info[2].As<Napi::Int32Array>();
  const size_t count = descriptors.ElementLength();
  if (bytes.ByteLength() == 0 || count > kMaxDescriptors) return ThrowErrno(env, "sendmsg", "", EINVAL);
  iovec data = {static_cast<char*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset(), bytes.ByteLength()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), descriptors.Data(), sizeof(int) * count);
  }
  ssize_t sent;
  do {
    sent = sendmsg(Int(info, 0), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno != EAGAIN) return ThrowErrno(env, "sendmsg");
  return Napi::Number::New(env, sent < 0 ? 0 : static_cast<double>(sent));
}

// receiveDescriptors(fd, bytes, descriptors): how many bytes, 0 at the end of the stream, -1 when nothing is there now. descriptors[0]
// is how many descriptors came with them, then they follow: the caller's to close.
static Napi::Value ReceiveDescriptors(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[1].IsTypedArray() || !info[2].IsTypedArray() ||
      info[2].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    return ThrowErrno(env, "recvmsg", "", EINVAL);
  const auto bytes = info[1].As<Napi::TypedArray>();
  auto descriptors = info[2].As<Napi::Int32Array>();
  if (bytes.ByteLength() == 0 || descriptors.ElementLength() <= kMaxDescriptors)
    return ThrowErrno(env, "recvmsg", "", EINVAL);
  iovec data = {static_cast<char*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset(), bytes.ByteLength()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  descriptors[0] = 0;
  ssize_t received;
  do {
    received = recvmsg(Int(info, 0), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == EAGAIN) return Napi::Number::New(env, -1);
    return ThrowErrno(env, "recvmsg");
  }
  int count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const int here = static_cast<int>((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(descriptors.Data() + 1 + count, CMSG_DATA(header), sizeof(int) * here);
    count += here;
  }
  // Not all of them could be opened here: the message is of no use, and nothing of it may leak.
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    for (int i = 0; i < count; i++) close(descriptors[1 + i]);
    return ThrowErrno(env, "recvmsg", "", EMFILE);
  }
  descriptors[0] = count;
  return Napi::Number::New(env, static_cast<double>(received));
}

void AddPeers(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "peerCredentials", PeerCredentials);
  Add(env, exports, "peerPidfd", PeerPidfd);
  Add(env, exports, "sendDescriptors", SendDescriptors);
  Add(env, exports, "receiveDescriptors", ReceiveDescriptors);
  exports.Set("maxDescriptors", Napi::Number::New(env, kMaxDescriptors));
}

}  // namespace ptalk
