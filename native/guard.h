// The SIGBUS guard. Another process can shrink an object that we have mapped; touching a page that is gone then raises
// SIGBUS, whose default kills Node. While anything of ours is mapped, one process-wide handler puts a page of zeros in
// its place instead and counts it. Faults elsewhere go to whoever handled SIGBUS before.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ptalk {

// Guards [address, address + size) and returns its slot; -1 only when there is no memory for more slots. There is no bound of our own:
// the kernel's (vm.max_map_count, 65,530 mappings a process as a rule) comes first. `owner` is what OwnerOf gives back.
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
