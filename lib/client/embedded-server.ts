// The server that `ptalk NAME` starts when none answers: a detached `ptalk serve --exit-when-empty` that outlives this
// process and goes by itself. Two clients starting at once both try; the port decides, and both use the winner.
import { spawn } from "node:child_process";
import { closeSync, fchmodSync, fstatSync, ftruncateSync, openSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../errors.ts";
import { formatServerAddress, type ServerAddress } from "../server-address.ts";
import { ensureStateDir, serveLogFile } from "./state-dir.ts";

const START_LIMIT_MS = 10_000; // a cold start takes some 300 ms; a loaded login node may take seconds
const PROBE_EVERY_MS = 25;
const PROBE_LIMIT_MS = 1_000; // loopback answers or refuses at once
const MAX_LOG_BYTES = 1024 * 1024; // an older log past this is emptied at the next start

const PROGRAM = join(import.meta.dirname, "..", "..", "bin", "ptalk.js");

/**
 * Makes sure that a server answers on a loopback address.
 * @returns true if this call started the process that now runs (or lost a race to another that did), false if one was there
 * @throws TalkError unreachable, with the log file to look into; AbortError
 */
export async function ensureServer(address: ServerAddress, stateDir: string, signal?: AbortSignal): Promise<boolean> {
  if (await answers(address)) return false;
  const { path, ended } = startServer(address, stateDir);
  let exit: string | undefined;
  ended.then((how) => {
    exit = how;
  });
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline) {
    await sleep(PROBE_EVERY_MS, undefined, signal ? { signal } : {});
    // Ours may have ended because another client's was quicker: what counts is that one answers.
    const gone = exit;
    if (await answers(address)) return true;
    if (gone !== undefined) throw failed(address, `the one started here ${gone}; see ${path}`);
  }
  throw failed(address, `the one started here is not ready after ${START_LIMIT_MS / 1000} s; see ${path}`);
}

function startServer(address: ServerAddress, stateDir: string): { path: string; ended: Promise<string> } {
  ensureStateDir(stateDir);
  const path = serveLogFile(stateDir);
  const log = openSync(path, "a", 0o600);
  try {
    fchmodSync(log, 0o600);
    if (fstatSync(log).size > MAX_LOG_BYTES) ftruncateSync(log, 0);
    const { PTALK_SERVER: _ours, ...env } = process.env;
    const child = spawn(
      process.execPath,
      [PROGRAM, "serve", "--exit-when-empty", "--listen", formatServerAddress(address)],
      {
        cwd: "/", // it must not keep a file system from being unmounted
        detached: true, // its own session: neither our terminal's SIGINT nor its hang-up reaches it
        env,
        stdio: ["ignore", log, log],
      },
    );
    child.unref();
    const ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(`could not be started (${error.message})`));
      child.once("exit", (code, killedBy) =>
        resolve(killedBy ? `was ended by ${killedBy}` : `ended with status ${code}`),
      );
    });
    return { path, ended };
  } finally {
    closeSync(log);
  }
}

/** Whether something accepts connections there. */
function answers({ host, port }: ServerAddress): Promise<boolean> {
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
