// /etc/passwd, passwd(5): the accounts that need no other service. For names to show; whose a name is, the whole user database says.
import { readFileSync } from "node:fs";

/** Logins by uid; the first of a uid counts, as for getpwuid(3). Empty when the file cannot be read. */
export function loginsInFile(): ReadonlyMap<number, string> {
  const logins = new Map<number, string>();
  let text: string;
  try {
    text = readFileSync("/etc/passwd", "utf8");
  } catch {
    return logins;
  }
  for (const line of text.split("\n")) {
    const [login, , uid] = line.split(":");
    if (login && uid && !logins.has(Number(uid))) logins.set(Number(uid), login);
  }
  return logins;
}
