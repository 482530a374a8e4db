#include "guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <new>

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

// Slots stand in blocks, each twice as long as the one before, made when they are needed and never freed: the handler may be
// looking at one. 21 blocks have room for more mappings than any process can have.
constexpr int kFirstBlock = 1024, kBlocks = 21;
std::atomic<Slot*> blocks[kBlocks];
std::atomic<int> used_slots{0};   // no slot at or above this was ever used
std::atomic<int> lowest_free{0};  // a hint: no slot below it was free when it was set
std::atomic<bool> installed{false};
uintptr_t page_size;            // this and `previous` are written once, before the handler can run
struct sigaction previous;

constexpr int BlockOf(int slot) { return 31 - __builtin_clz(static_cast<unsigned>(slot / kFirstBlock + 1)); }
constexpr int FirstOf(int block) { return kFirstBlock * ((1 << block) - 1); }

// Nullptr where no block has been made yet.
Slot* SlotAt(int i) {
  const int block = BlockOf(i);
  Slot* slots = blocks[block].load();
  return slots == nullptr ? nullptr : slots + (i - FirstOf(block));
}

bool MakeBlock(int block) {
  if (block >= kBlocks) return false;
  Slot* made = new (std::nothrow) Slot[static_cast<size_t>(kFirstBlock) << block]();
  Slot* none = nullptr;
  if (made != nullptr && !blocks[block].compare_exchange_strong(none, made)) delete[] made;  // another thread was first
  return made != nullptr;
}

bool Replace(uintptr_t fault) {
  const int end = used_slots.load();
  for (int i = 0; i < end; i++) {
    Slot& slot = *SlotAt(i);
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
  for (int i = lowest_free.load();; i++) {
    Slot* slot = SlotAt(i);
    if (slot == nullptr) {
      if (!MakeBlock(BlockOf(i))) return -1;
      slot = SlotAt(i);
    }
    uintptr_t expected = kFree;
    if (slot->start.load() != kFree || !slot->start.compare_exchange_strong(expected, kReserved)) continue;
    lowest_free.store(i + 1);
    slot->size.store(size);
    slot->writable.store(writable);
    slot->faults.store(0);
    slot->owner.store(owner);
    int end = used_slots.load();
    while (end <= i && !used_slots.compare_exchange_weak(end, i + 1)) {
    }
    slot->start.store(reinterpret_cast<uintptr_t>(address));
    return i;
  }
}

void Unguard(int slot) {
  SlotAt(slot)->start.store(kFree);
  int hint = lowest_free.load();
  while (slot < hint && !lowest_free.compare_exchange_weak(hint, slot)) {
  }
}

int FindGuarded(const void* address) {
  const uintptr_t wanted = reinterpret_cast<uintptr_t>(address);
  if (wanted <= kReserved) return -1;
  const int end = used_slots.load();
  for (int i = 0; i < end; i++) {
    if (SlotAt(i)->start.load() == wanted) return i;
  }
  return -1;
}

void* OwnerOf(int slot) { return SlotAt(slot)->owner.load(); }

uint32_t FaultsOf(int slot) { return SlotAt(slot)->faults.load(); }

bool GuardsSigbus() { return installed.load(); }

}  // namespace ptalk
