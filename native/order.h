// Keeping realtime signals in order. The kernel queues them in order, but hands them to any thread that does not block them,
// and while one thread's handler runs the next signal goes to another thread: of 20,000 sent in a burst, up to 2,500
// overtook another. So only the main thread keeps them unblocked; every other thread is asked, by a signal of its own, to
// block them. A thread made later takes at most one before it blocks them too.
#pragma once

#include <signal.h>

namespace ptalk {

// Asks every thread but the main one to block the signal, whose handler (in place already) must call BlockOnThisThread, and waits
// for them to have done so.
void DeliverToMainThreadOnly(int signo);

// In the handler: makes this thread, unless it is the main one, block the signal from its return on. True when the delivery
// was nothing but that request.
bool BlockOnThisThread(int signo, const siginfo_t* info, void* context);

// Before the handler goes: a request that a thread has not seen yet would meet the next action, which may be to kill.
// Discards the signal wherever it is pending in this process.
void DiscardPending(int signo);

}  // namespace ptalk
