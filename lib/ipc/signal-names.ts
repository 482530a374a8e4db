// Signal names as in Node ("SIGINT") and "SIGRTMIN+n", to numbers.
import { constants } from "node:os";
import { native } from "../native.ts";
import { kindOf } from "./names.ts";

const REALTIME = /^SIGRT(?:MIN(?:\+(\d{1,2}))?|MAX(?:-(\d{1,2}))?)$/;

/** The signal's number on this system. TypeError for what is no name of a signal, RangeError beyond the realtime ones. */
export function signalNumber(name: unknown): number {
  if (typeof name !== "string") {
    throw new TypeError(`signal must be a name like "SIGUSR2" or "SIGRTMIN+1", not ${kindOf(name)}`);
  }
  const realtime = REALTIME.exec(name);
  if (realtime) return realtimeNumber(name, realtime);
  if (Object.hasOwn(constants.signals, name)) return constants.signals[name as NodeJS.Signals];
  throw new TypeError(`there is no signal ${JSON.stringify(name)}; names are as in Node ("SIGUSR2"), and "SIGRTMIN+n"`);
}

function realtimeNumber(name: string, [, up, down]: RegExpExecArray): number {
  const { SIGRTMIN, SIGRTMAX } = native;
  const number = name.startsWith("SIGRTMIN") ? SIGRTMIN + Number(up ?? 0) : SIGRTMAX - Number(down ?? 0);
  if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  throw new RangeError(`${name} does not exist: there are SIGRTMIN+0 to SIGRTMIN+${SIGRTMAX - SIGRTMIN}`);
}
