// A UDP socket of one environment, read through its event loop.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <uv.h>

#include <cstdint>
#include <vector>

#include "environment.h"

namespace ptalk {

constexpr int kUdpBatch = 32;     // datagrams read at once
constexpr int kUdpMetaWords = 7;  // what is told of each: see udpReceive
constexpr size_t kUdpSegments = 48;  // sent at once: of 1,200 bytes each they fit the largest datagram (65,507 bytes)
constexpr size_t kUdpErrors = 32;  // ICMP errors kept until they are asked for; more at once are forgotten
constexpr int kUdpErrorsCame = INT32_MIN;  // in place of how many datagrams have come
constexpr int kUdpFailures = 16;  // in a row, after which a socket is not read any more: the loop would spin

// What came back for a datagram (ip(7), IP_RECVERR).
struct UdpError {
  sockaddr_in6 to;
  int error;
};

struct UdpSocket {
  UdpSocket(Napi::Env env, int fd, bool ipv6);
  // Nothing may touch it afterwards.
  void Close();
  static void OnReadable(uv_poll_t* poll, int status, int events);

  const Napi::Env env;
  const int fd;
  const bool ipv6;
  bool polling = false;
  bool closing = false;
  int failures = 0;
  bool segments = true;  // until the kernel says no
  int32_t* meta = nullptr;
  uv_poll_t poll;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  Napi::AsyncContext context;
  Napi::FunctionReference callback;
  Napi::ObjectReference owners;  // keeps the memory that the kernel writes to
  mmsghdr headers[kUdpBatch];
  iovec slots[kUdpBatch];
  sockaddr_in6 names[kUdpBatch];

  std::vector<UdpError> errors;

  int Receive(int status);
  bool ReadErrors();
  bool TellErrors();
  void Describe(int i);

 private:
  void Call(int result);
};

}  // namespace ptalk
