// MUNGE credentials (munge(7)), by its two programs: hosts of one realm share a secret, and a credential says which uid on one of them has made it. Processes
// of their own ask the daemon, so nothing here waits for it but with a bound. Knows nothing of what a credential is for.
import { execFile } from "node:child_process";
import { statSync } from "node:fs";

/** Ms that one of the programs may take: the daemon answers in a few. */
const LIMIT_MS = 2_000;
/** Characters of a credential: ours have some 250. */
export const MAX_CREDENTIAL = 2_048;
const CREDENTIAL = /^MUNGE:[A-Za-z0-9+/=]+:$/;
const DEFAULT_SOCKET = "/run/munge/munge.socket.2";
/** Never the caller's PATH: what it finds first would say who somebody is. */
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";
/** Exit statuses of unmunge that say nothing of the credential: no memory, no daemon, no answer. */
const UNAVAILABLE: ReadonlySet<unknown> = new Set([5, 6, 7]);

/** What a credential says; "bad": it is none of this realm, or expired, replayed, or for another user; null: that cannot be told. */
export type Decoded = { readonly uid: number; readonly payload: string } | "bad" | null;

/** Whether a credential can be made or read here: the daemon's socket is there. */
export function hasMunge(): boolean {
  try {
    return statSync(socketPath()).isSocket();
  } catch {
    return false;
  }
}

/** Of a daemon that listens elsewhere than it does by default. */
function socketPath(): string {
  return process.env.PTALK_MUNGE_SOCKET || DEFAULT_SOCKET;
}

export function isCredential(text: string): boolean {
  return text.length <= MAX_CREDENTIAL && CREDENTIAL.test(text);
}

/**
 * A credential of this process's uid.
 * @param readerUid the only uid that can read it
 * @returns null where none is to be had
 */
export async function encodeMunge(payload: string, readerUid: number): Promise<string | null> {
  const { status, stdout } = await run("munge", ["--restrict-uid", String(readerUid), "--string", payload], "");
  const credential = stdout.trim();
  return status === 0 && isCredential(credential) ? credential : null;
}

/** Reads a credential, which counts once: the daemon remembers those that were read. */
export async function decodeMunge(credential: string): Promise<Decoded> {
  const { status, stdout } = await run("unmunge", ["--numeric", "--keys", "STATUS,UID,UID_RESTRICTION"], credential);
  if (status === null || UNAVAILABLE.has(status)) return null;
  const end = stdout.indexOf("\n\n");
  const said = new Map(
    stdout
      .slice(0, end)
      .split("\n")
      .map((line) => line.split(/:\s+/, 2) as [string, string]),
  );
  const [uid = "", reader = ""] = [said.get("UID"), said.get("UID_RESTRICTION")];
  // A replayed one is printed too, with its payload: the status decides.
  const counts = status === 0 && end !== -1 && said.get("STATUS") === "0" && reader === String(process.geteuid?.());
  return counts && /^\d{1,10}$/.test(uid) ? { uid: Number(uid), payload: stdout.slice(end + 2) } : "bad";
}

/** @returns status null: it could not be started, or took too long */
function run(program: string, args: string[], input: string): Promise<{ status: number | null; stdout: string }> {
  const all = ["--socket", socketPath(), ...args];
  const options = {
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
    maxBuffer: 16 * MAX_CREDENTIAL,
    env: { PATH },
    cwd: "/",
  } as const;
  return new Promise((resolve) => {
    const child = execFile(program, all, options, (error, stdout) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : null;
      resolve({ status: code, stdout });
    });
    child.stdin?.on("error", () => {}); // it has ended without reading
    child.stdin?.end(input);
  });
}
