// Signals with sigaction(2) and sigqueue(3). A signal is claimed either here or with process.on, never by both.
import { native, SIGNAL_DEFAULT, SIGNAL_HANDLE, SIGNAL_IGNORE } from "../native.ts";
import { IpcError } from "./error.ts";
import { checkInteger, kindOf } from "./names.ts";
import { RecordPipe } from "./record-pipe.ts";
import { signalNumber } from "./signal-names.ts";

/** What siginfo_t says of a delivery. */
export interface SignalInfo {
  /** The name it was claimed by: "SIGUSR2", "SIGRTMIN+1". */
  readonly signal: string;
  /** si_code: 0 SI_USER (kill), -1 SI_QUEUE (sigqueue), -6 SI_TKILL, 128 SI_KERNEL (a terminal's Ctrl-C), … */
  readonly code: number;
  /** Who sent it; 0 when no process did. */
  readonly pid: number;
  /** Real user id of the sender; 0 when no process did. */
  readonly uid: number;
  /** The value given to sigqueue; 0 when it was sent otherwise. */
  readonly value: number;
}

/** How often a signal has come to this process's callbacks. */
export interface SignalCount {
  /** The name it was claimed by. */
  readonly signal: string;
  /** Deliveries since the process started, lost ones not counted. */
  readonly count: number;
  /** The pid that sent the last one; 0 when no process did. */
  readonly lastPid: number;
}

/** A handler, or what the system does by itself. */
export type SignalAction = "ignore" | "default" | ((info: SignalInfo) => void);

/** Faults of the program itself: returning from a handler repeats them, and JavaScript runs only after it has returned. */
const FAULTS = new Set(["SIGSEGV", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGIOT"]);
/** Signals for which Node sets a handler at its start, to restore the terminal or wake its debugger: a claim may replace it. */
const NODES_OWN = new Set(["SIGINT", "SIGTERM", "SIGUSR1"]);
const RECORD_BYTES = 24;
const SIGNAL_STOLEN = "PTALK_SIGNAL_STOLEN";
const SIGNALS_LOST = "PTALK_SIGNALS_LOST";
const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;

interface Claim {
  readonly id: number;
  readonly signal: string;
  readonly signo: number;
  /** What native.sigcurrent says while nobody has taken the signal from us. */
  readonly expected: "ours" | "ignore" | "default";
  readonly handler: ((info: SignalInfo) => void) | undefined;
  stolen: boolean;
}

/** The types of process.prependListener do not know "newListener". */
const processEvents: NodeJS.EventEmitter = process;

const claims = new Map<number, Claim>();
let pipe: RecordPipe | undefined;
const counts = new Map<string, SignalCount>();
/** Losses of this process that were told of. */
let drops = 0;

/**
 * Sets what a signal does in this process: nothing ("ignore"), the system's default, or a callback, run on the event loop
 * with what siginfo_t says. Disposing puts back what was there before. Callbacks do not keep the process alive. Deliveries
 * beyond what fits the pipe (1 MiB, about 40,000) while the loop is blocked are lost, with a warning PTALK_SIGNALS_LOST.
 *
 * Signals are named as in Node, and "SIGRTMIN+n". Throws IpcError EBUSY when the signal is claimed already, here or with
 * process.on; EINVAL for SIGKILL and SIGSTOP, for SIGBUS (it guards shared mappings) and for callbacks on faults.
 * While claimed, process.on for the signal throws EBUSY.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigaction.html
 */
export function sigaction(signal: string, action: SignalAction): Disposable {
  const signo = signalNumber(signal);
  checkAction(signal, action);
  noticeThefts();
  const claimant = otherClaimant(signal, signo);
  if (claimant) throw IpcError.of("EBUSY", "sigaction", undefined, `${signal} is handled by ${claimant}`);
  const claim = open(signal, signo, action);
  claims.set(claim.id, claim);
  return { [Symbol.dispose]: () => release(claim) };
}

/**
 * Sends a signal with a 32-bit integer to a process. Realtime signals ("SIGRTMIN+n") are queued, each with its value, and
 * arrive in order; of the others one may stand for many. Signal 0 sends nothing and only checks that one could.
 * ESRCH, EPERM; EAGAIN when the receiver's queue is full.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/sigqueue.html
 */
export function sigqueue(pid: number, signal: string | 0, value = 0): void {
  checkInteger("pid", pid, 1, INT32_MAX);
  const signo = signal === 0 ? 0 : signalNumber(signal);
  checkInteger("value", value, INT32_MIN, INT32_MAX);
  noticeThefts();
  native.sigqueue(pid, signo, value);
}

/** The signals that have come to callbacks of `sigaction` in this thread, in the order of their first delivery; those of disposed ones too. */
export function signalCounts(): SignalCount[] {
  return [...counts.values()];
}

function checkAction(signal: string, action: unknown): asserts action is SignalAction {
  const refuse = (reason: string) => IpcError.of("EINVAL", "sigaction", undefined, reason);
  if (typeof action !== "function" && action !== "ignore" && action !== "default") {
    throw new TypeError(
      `action must be "ignore", "default" or a function, not ${JSON.stringify(action) ?? kindOf(action)}`,
    );
  }
  if (signal === "SIGKILL" || signal === "SIGSTOP") throw refuse(`${signal} cannot be caught or ignored`);
  if (signal === "SIGBUS") throw refuse("SIGBUS guards this process against shared memory truncated by others");
  if (typeof action === "function" && FAULTS.has(signal)) {
    throw refuse(`${signal} reports a fault of the program, which no callback on the event loop can mend`);
  }
}

/** Who would lose the signal to a claim, and what to do about it. */
function otherClaimant(signal: string, signo: number): string | undefined {
  if (process.listenerCount(signal) > 0) return "process.on; remove that listener first";
  if (NODES_OWN.has(signal) || FAULTS.has(signal) || native.sigcurrent(signo) !== "other") return undefined;
  if (signal === "SIGCHLD") return "Node, which learns from it that its child processes end";
  return "another thread's process.on, or by other native code";
}

function open(signal: string, signo: number, action: SignalAction): Claim {
  const handler = typeof action === "function" ? action : undefined;
  const mode = handler ? SIGNAL_HANDLE : action === "ignore" ? SIGNAL_IGNORE : SIGNAL_DEFAULT;
  if (handler && !pipe) pipe = new RecordPipe(native.signalFd(), RECORD_BYTES, dispatch);
  let id: number;
  try {
    id = native.sigaction(signo, mode);
  } catch (error) {
    if (!(error instanceof IpcError) || error.code !== "EBUSY") throw error;
    throw IpcError.of(
      "EBUSY",
      "sigaction",
      undefined,
      `${signal} is claimed by another sigaction; dispose of that first`,
    );
  }
  if (claims.size === 0) processEvents.prependListener("newListener", refuseListener);
  return { id, signal, signo, expected: handler ? "ours" : (action as "ignore" | "default"), handler, stolen: false };
}

function release(claim: Claim): void {
  if (!claims.delete(claim.id)) return;
  if (claims.size === 0) processEvents.off("newListener", refuseListener);
  if (!native.sigrestore(claim.signo, claim.id)) warnOfTheft(claim);
}

function dispatch(words: Int32Array): void {
  noticeDrops();
  const [id = 0, , code = 0, pid = 0, uid = 0, value = 0] = words;
  const claim = claims.get(id);
  if (!claim?.handler) return; // disposed of while it was on its way
  const { signal } = claim;
  counts.set(signal, { signal, count: (counts.get(signal)?.count ?? 0) + 1, lastPid: pid });
  try {
    claim.handler({ signal, code, pid, uid: uid >>> 0, value });
  } catch (error) {
    // As from any event's listener: uncaught, but the signals behind it are still delivered.
    process.nextTick(() => {
      throw error;
    });
  }
}

/** Runs before Node's own listener, so that Node never installs a handler over ours. */
function refuseListener(event: string | symbol): void {
  for (const { signal } of claims.values()) {
    if (signal !== event) continue;
    throw IpcError.of("EBUSY", "sigaction", undefined, `${signal} is claimed by sigaction; dispose of that first`);
  }
}

/** What slips past refuseListener: another thread's process.on, or other native code. */
function noticeThefts(): void {
  for (const claim of claims.values()) {
    if (native.sigcurrent(claim.signo) !== claim.expected) warnOfTheft(claim);
  }
}

/** The pipe holds tens of thousands of deliveries; what comes while it is full is gone, and must not go unnoticed. */
function noticeDrops(): void {
  const lost = native.signalDrops() - drops;
  if (lost === 0) return;
  drops += lost;
  process.emitWarning(`${lost} signals were lost: they came faster than the event loop took them`, {
    code: SIGNALS_LOST,
  });
}

function warnOfTheft(claim: Claim): void {
  if (claim.stolen) return;
  claim.stolen = true;
  process.emitWarning(`${claim.signal} was claimed with sigaction, but something else has replaced its action since`, {
    code: SIGNAL_STOLEN,
    detail: "process.on in another thread, or another native addon, took the signal. Its action is left as it is.",
  });
}
