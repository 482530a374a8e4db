// POSIX message queues: mq_open(3), mq_send(3), mq_receive(3), mq_notify(3). On Linux a queue's descriptor is a file descriptor, which the
// event loop can wait for (watch.cc) and closeFd closes.
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>

#include <cerrno>

#include "environment.h"

namespace ptalk {

// mqOpen(name, flags, mode, maxMessages, messageSize): never blocks afterwards.
static Napi::Value MqOpen(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  mq_attr attributes = {};
  attributes.mq_maxmsg = static_cast<long>(Int64(info, 3));
  attributes.mq_msgsize = static_cast<long>(Int64(info, 4));
  mqd_t queue;
  do {
    queue = mq_open(name.c_str(), Int(info, 1) | O_NONBLOCK | O_CLOEXEC, static_cast<mode_t>(Int(info, 2)), &attributes);
  } while (queue < 0 && errno == EINTR);
  if (queue < 0) return ThrowErrno(info.Env(), "mq_open", name);
  EnvironmentOf(info.Env()).descriptors.insert(queue);
  return Napi::Number::New(info.Env(), queue);
}

static Napi::Value MqUnlink(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0);
  if (mq_unlink(name.c_str()) < 0) return ThrowErrno(info.Env(), "mq_unlink", name);
  return info.Env().Undefined();
}

static Napi::Value MqAttributes(const Napi::CallbackInfo& info) {
  mq_attr attributes;
  if (mq_getattr(Int(info, 0), &attributes) < 0) return ThrowErrno(info.Env(), "mq_getattr");
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("maxMessages", static_cast<double>(attributes.mq_maxmsg));
  result.Set("messageSize", static_cast<double>(attributes.mq_msgsize));
  result.Set("waiting", static_cast<double>(attributes.mq_curmsgs));
  return result;
}

// mqSend(queue, bytes, priority): false when the queue is full.
static Napi::Value MqSend(const Napi::CallbackInfo& info) {
  if (!info[1].IsTypedArray()) return ThrowErrno(info.Env(), "mq_send", "", EINVAL);
  const auto bytes = info[1].As<Napi::TypedArray>();
  // An empty array may have no memory at all, and mq_send(3) takes no null pointer.
  const bool empty = bytes.ByteLength() == 0;
  const char* data = empty ? "" : static_cast<const char*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset();
  int result;
  do {
    result = mq_send(Int(info, 0), data, bytes.ByteLength(), static_cast<unsigned>(Int(info, 2)));
  } while (result < 0 && errno == EINTR);
  if (result < 0 && errno != EAGAIN) return ThrowErrno(info.Env(), "mq_send");
  return Napi::Boolean::New(info.Env(), result == 0);
}

// mqReceive(queue, bytes, priority): how many bytes, the priority in the first word; -1 when the queue is empty.
static Napi::Value MqReceive(const Napi::CallbackInfo& info) {
  if (!info[1].IsTypedArray() || !info[2].IsTypedArray() ||
      info[2].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array ||
      info[2].As<Napi::TypedArray>().ElementLength() == 0)
    return ThrowErrno(info.Env(), "mq_receive", "", EINVAL);
  const auto bytes = info[1].As<Napi::TypedArray>();
  auto word = info[2].As<Napi::Int32Array>();
  char* data = static_cast<char*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset();
  unsigned priority = 0;
  ssize_t length;
  do {
    length = mq_receive(Int(info, 0), data, bytes.ByteLength(), &priority);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && errno != EAGAIN) return ThrowErrno(info.Env(), "mq_receive");
  word[0] = static_cast<int32_t>(priority);
  return Napi::Number::New(info.Env(), static_cast<double>(length));
}

// mqNotify(queue, signal, value): one signal when a message comes into the empty queue and no process waits for it; 0
// ends the request.
static Napi::Value MqNotify(const Napi::CallbackInfo& info) {
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = Int(info, 1);
  event.sigev_value.sival_int = Int(info, 2);
  if (mq_notify(Int(info, 0), event.sigev_signo == 0 ? nullptr : &event) < 0) return ThrowErrno(info.Env(), "mq_notify");
  return info.Env().Undefined();
}

void AddMessageQueues(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "mqOpen", MqOpen);
  Add(env, exports, "mqUnlink", MqUnlink);
  Add(env, exports, "mqAttributes", MqAttributes);
  Add(env, exports, "mqSend", MqSend);
  Add(env, exports, "mqReceive", MqReceive);
  Add(env, exports, "mqNotify", MqNotify);
}

}  // namespace ptalk
