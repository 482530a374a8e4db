// The SIGBUS guard. Another process can shrink an object that we have mapped; touching a page that is gone then raises
// SIGBUS, whose default kills Node. While anything of ours is mapped, one process-wide handler puts a page of zeros in
// its place instead and counts it. Faults elsewhere go to whoever handled SIGBUS before.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ptalk {

// Most mappings (segments and semaphores, of all threads together) guarded at once. A scan of all slots is what a fault
// costs, so this is a bound on the handler's work.
constexpr int kMaxGuarded = 8192;

// Guards [address, address + size) and returns its slot, or -1 when all slots are taken. `owner` is what FindOwner gives back.
int Guard(void* address, size_t size, bool writable, void* owner);
// Must come before munmap, or a new mapping at the same address could be taken for the old one.
void Unguard(int slot);
// The slot whose mapping begins at the address, or -1.
int FindGuarded(const void* address);
void* OwnerOf(int slot);
// How many pages of the mapping were replaced by zeros so far.
uint32_t FaultsOf(int slot);
// True once the handler is in place: SIGBUS cannot be claimed by anyone else then.
bool GuardsSigbus();

}  // namespace ptalk
