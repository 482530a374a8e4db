#include "guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

namespace ptalk {

namespace {

// Process-wide because a signal handler has no other way in: lock-free atomics only.
struct Slot {
  std::atomic<uintptr_t> start;  // kFree, kReserved, or the address; published last
  std::atomic<size_t> size;
  std::atomic<bool> writable;
  std::atomic<uint32_t> faults;
  std::atomic<void*> owner;
};
constexpr uintptr_t kFree = 0, kReserved = 1;

Slot slots[kMaxGuarded];
std::atomic<int> used_slots{0};  // no slot at or above this was ever used
std::atomic<bool> installed{false};
uintptr_t page_size;            // this and `previous` are written once, before the handler can run
struct sigaction previous;

bool Replace(uintptr_t fault) {
  const int end = used_slots.load();
  for (int i = 0; i < end; i++) {
    Slot& slot = slots[i];
    const uintptr_t start = slot.start.load();
    if (start <= kReserved || fault < start || fault - start >= slot.size.load()) continue;
    const int protection = slot.writable.load() ? PROT_READ | PROT_WRITE : PROT_READ;
    if (slot.start.load() != start) continue;  // recycled while we looked
    void* page = reinterpret_cast<void*>(fault & ~(page_size - 1));
    if (mmap(page, page_size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return false;
    slot.faults.fetch_add(1);
    return true;
  }
  return false;
}

void OnSigbus(int signo, siginfo_t* info, void* context) {
  const int saved = errno;
  // Only a fault has an address: a SIGBUS sent with kill(2) has a code of 0 or less.
  const bool mended = info->si_code > 0 && Replace(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (mended) return;
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signo, info, context);
  if (previous.sa_handler == SIG_IGN && info->si_code <= 0) return;
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signo);
  // Not ours: let the default action have it. A fault happens again on return; a sent signal must be sent again.
  signal(SIGBUS, SIG_DFL);
  if (info->si_code <= 0) raise(SIGBUS);
}

void Install() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, nullptr, &previous);
    sigaction(SIGBUS, &action, nullptr);
    installed.store(true);
  });
}

}  // namespace

int Guard(void* address, size_t size, bool writable, void* owner) {
  Install();
  for (int i = 0; i < kMaxGuarded; i++) {
    uintptr_t expected = kFree;
    if (slots[i].start.load() != kFree || !slots[i].start.compare_exchange_strong(expected, kReserved)) continue;
    slots[i].size.store(size);
    slots[i].writable.store(writable);
    slots[i].faults.store(0);
    slots[i].owner.store(owner);
    int end = used_slots.load();
    while (end <= i && !used_slots.compare_exchange_weak(end, i + 1)) {
    }
    slots[i].start.store(reinterpret_cast<uintptr_t>(address));
    return i;
  }
  return -1;
}

void Unguard(int slot) { slots[slot].start.store(kFree); }

int FindGuarded(const void* address) {
  const uintptr_t wanted = reinterpret_cast<uintptr_t>(address);
  if (wanted <= kReserved) return -1;
  const int end = used_slots.load();
  for (int i = 0; i < end; i++) {
    if (slots[i].start.load() == wanted) return i;
  }
  return -1;
}

void* OwnerOf(int slot) { return slots[slot].owner.load(); }

uint32_t FaultsOf(int slot) { return slots[slot].faults.load(); }

bool GuardsSigbus() { return installed.load(); }

}  // namespace ptalk
