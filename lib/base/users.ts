// Login names by uid, from the file that every libc reads first. What only a directory service knows is asked elsewhere.
import { readFileSync } from "node:fs";

/** The uid of the system user that the service runs as (contrib/ptalk.sysusers). */
export const SERVICE_USER = "ptalk";

interface PasswdLine {
  readonly name: string;
  readonly uid: number;
}

/** The lines of /etc/passwd, in their order; none where it cannot be read. */
function passwd(): PasswdLine[] {
  let text: string;
  try {
    text = readFileSync("/etc/passwd", "utf8");
  } catch {
    return [];
  }
  const found: PasswdLine[] = [];
  for (const line of text.split("\n")) {
    const [name, , uid = ""] = line.split(":");
    if (name && /^\d+$/.test(uid)) found.push({ name, uid: Number(uid) });
  }
  return found;
}

/** Names many uids; reads the file once, and only if it is needed. A uid without a name gets its digits. */
export function userNames(): (uid: number) => string {
  let names: Map<number, string> | undefined;
  return (uid) => {
    if (names === undefined) {
      names = new Map();
      for (const { name, uid: of } of passwd()) if (!names.has(of)) names.set(of, name);
    }
    return names.get(uid) ?? String(uid);
  };
}

export const userName = (uid: number): string => userNames()(uid);

/** The uid of the service's user; null where it is not installed. */
export function serviceUid(): number | null {
  return loginUid(SERVICE_USER);
}

/** The uid of a login, null where the file has none. */
export function loginUid(login: string): number | null {
  return passwd().find(({ name }) => name === login)?.uid ?? null;
}
