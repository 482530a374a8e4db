// The server that `ptalk` starts when none answers: a detached `ptalk serve --exit-when-empty` that outlives this
// process and goes by itself. Two clients starting at once both try; the port decides, and both use the winner. One that is
// just leaving may still answer, or keep its successor away for a moment: then we try again.
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, type ServerAddress } from "../base/server-address.ts";
import { ensureStateDir, serveLogFile } from "../store/state-paths.ts";
import { startInBackground } from "./background-program.ts";

/** For everything: a cold start takes some 300 ms, a leaving server's last farewell as much; a loaded login node may take seconds. */
const START_LIMIT_MS = 10_000;
const RETRY = { firstMs: 50, maxMs: 1_000 };
const PROBE_EVERY_MS = 25;
const PROBE_LIMIT_MS = 1_000; // loopback answers or refuses at once
/** Status of `ptalk serve --background` when another program has the port, or another server the state directory. */
const SERVE_OCCUPIED = 75;
/** Ms after which the other server has gone (its workers get three seconds) or answers: if neither, it is no lookup server. */
const LEAVING_MS = 4_000;

export interface EmbeddedServerOptions {
  /** On loopback. */
  readonly address: ServerAddress;
  /** The client's own; log and state of the server are in it. */
  readonly stateDir: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes sure that a server runs, and does `use` (connect and register) with it: again, while it turns out that the one that
 * answered is gone.
 * @throws TalkError unreachable, with the log file to look into; what `use` throws; AbortError
 */
export async function withEmbeddedServer<T>(options: EmbeddedServerOptions, use: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + START_LIMIT_MS;
  const attempts: Attempts = {};
  for (let attempt = 0; ; attempt++) {
    await ensureServer(options, deadline, attempts);
    try {
      return await use();
    } catch (error) {
      const gone = error instanceof TalkError && error.code === "unreachable" && error.remedy !== "foreign-port";
      if (!gone || performance.now() >= deadline) throw error;
    }
    await pause(backoffMs(attempt, RETRY), options.signal);
  }
}

/** What was started so far: one that listens for a moment before it fails looks like one that serves. */
interface Attempts {
  latest?: Started;
  /** When the first was seen to have failed. */
  failedAt?: number;
}

async function ensureServer(
  { address, stateDir, signal }: EmbeddedServerOptions,
  deadline: number,
  attempts: Attempts,
): Promise<void> {
  const log = serveLogFile(stateDir);
  for (let attempt = 0; ; ) {
    // Asked before the probe: ours may have ended because another client's was quicker. What counts is that one answers.
    const end = attempts.latest?.end;
    if (await answers(address)) return;
    if (end !== undefined) attempts.failedAt ??= performance.now();
    const isPassing = end?.passing && performance.now() - (attempts.failedAt ?? 0) < LEAVING_MS;
    if (end !== undefined && !isPassing) throw failed(address, `the one started here ${end.how}; see ${log}`);
    if (performance.now() >= deadline) {
      throw failed(address, `none is ready after ${START_LIMIT_MS / 1000} s; see ${log}`);
    }
    if (end !== undefined) await pause(backoffMs(attempt++, RETRY), signal);
    if (end !== undefined || attempts.latest === undefined) attempts.latest = startServer(address, stateDir, null);
    await pause(PROBE_EVERY_MS, signal);
  }
}

export interface Started {
  /** Undefined while it lives. `passing`: another server is, or was just now, in its place. */
  readonly end: { readonly how: string; readonly passing: boolean } | undefined;
}

/** Starts one in the background, which ends by itself if the port is taken. @param after table of the one that has died there */
export function startServer(address: ServerAddress, stateDir: string, after: string | null): Started {
  ensureStateDir(stateDir);
  // Plain, whatever is configured for a server that others reach: this one never leaves the machine.
  const options = ["--background", "--exit-when-empty", "--no-tls", "--listen", formatServerAddress(address)];
  if (after !== null) options.push("--after", after);
  const program = startInBackground(["serve", ...options], serveLogFile(stateDir), isForServers);
  return {
    get end() {
      if (program.end === undefined) return undefined;
      const { status, how, reason } = program.end;
      return { how: reason === null ? how : `${how}: ${reason}`, passing: status === SERVE_OCCUPIED };
    },
  };
}

/** PTALK_ variables are meant for this command, or for a server that a user starts on purpose. */
const isForServers = (variable: string): boolean => !variable.startsWith("PTALK_");

const pause = (ms: number, signal?: AbortSignal): Promise<void> => sleep(ms, undefined, signal ? { signal } : {});

/** Whether something accepts connections there. */
export function answers({ host, port }: ServerAddress): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (yes: boolean): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(PROBE_LIMIT_MS, () => done(false));
    socket.once("connect", () => done(true)).once("error", () => done(false));
  });
}

const failed = (address: ServerAddress, reason: string): TalkError =>
  TalkError.unreachable(formatServerAddress(address), reason);
