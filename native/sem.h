// What sem.cc and wait.cc share.
#pragma once

#include <ctime>

#include "environment.h"

namespace ptalk {

// A wait comes up for air this often, to see whether it was cancelled or its thread is being ended.
constexpr double kSliceMs = 100;

// Waits until the absolute CLOCK_MONOTONIC time; false with errno otherwise (ETIMEDOUT). A signal does not end the wait.
bool WaitUntil(sem_t* sem, const timespec& deadline);
timespec MonotonicIn(double milliseconds);
bool Earlier(const timespec& a, const timespec& b);

}  // namespace ptalk
