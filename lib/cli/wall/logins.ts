// The users logged in on this machine, from systemd-logind (sd-login(3)), or from utmp(5) where there is no logind.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Login {
  readonly user: string;
  /** "pts/3", "tty1"; null for a session without a terminal. */
  readonly line: string | null;
}

const SESSIONS = "/run/systemd/sessions";
const UTMP = "/run/utmp";
/** utmp(5) of glibc: the size of a record, and where its fields are. */
const RECORD = { bytes: 384, type: 0, line: 8, lineBytes: 32, user: 44, userBytes: 32 };
const USER_PROCESS = 7;

/** Null where neither of them is kept. */
export function logins(sessions = SESSIONS, utmp = UTMP): Login[] | null {
  return sessionLogins(sessions) ?? utmpLogins(utmp);
}

function sessionLogins(folder: string): Login[] | null {
  let files: string[];
  try {
    files = readdirSync(folder);
  } catch {
    return null;
  }
  return files.flatMap((file) => {
    const session = fieldsOf(join(folder, file));
    const user = session.get("USER");
    // Not the manager's own, nor the login screen's.
    if (session.get("CLASS") !== "user" || user === undefined) return [];
    return [{ user, line: session.get("TTY") ?? null }];
  });
}

function fieldsOf(path: string): Map<string, string> {
  const fields = new Map<string, string>();
  try {
    // A session has a fifo beside it (N.ref), which would not be read to an end.
    if (!statSync(path).isFile()) return fields;
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const [, name, value] = /^([A-Z_]+)=(.*)$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) fields.set(name, value);
    }
  } catch {
    // It has just ended.
  }
  return fields;
}

function utmpLogins(path: string): Login[] | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    return null;
  }
  const found: Login[] = [];
  for (let at = 0; at + RECORD.bytes <= bytes.length; at += RECORD.bytes) {
    if (bytes.readInt16LE(at + RECORD.type) !== USER_PROCESS) continue;
    const user = textAt(bytes, at + RECORD.user, RECORD.userBytes);
    if (user !== "") found.push({ user, line: textAt(bytes, at + RECORD.line, RECORD.lineBytes) || null });
  }
  return found;
}

function textAt(bytes: Buffer, start: number, length: number): string {
  const field = bytes.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end === -1 ? length : end);
}
