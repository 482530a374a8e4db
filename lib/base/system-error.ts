// Errors of the operating system as Node and the addon throw them, by their names in errno(3). Node lacks some of the names: of a
// full quota it says "Unknown system error -122".
import { constants } from "node:os";

/** Texts for what Node has none for. */
const TEXTS: Readonly<Record<string, string>> = {
  EDQUOT: "disk quota exceeded",
  ENOLCK: "no locks available",
  ESTALE: "stale file handle",
};

/** What the machine has run out of, or cannot do at the moment: room, descriptors, memory, processes, locks, disks, networks. */
const SHORTAGES: ReadonlySet<string | undefined> = new Set([
  ...["ENOSPC", "EDQUOT", "EFBIG", "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN", "ENOLCK", "EIO", "ESTALE"],
  ...["EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ENETDOWN", "ENETUNREACH"],
]);

/** Whether the caller has done nothing wrong and lacks no permission: with more of something it would have worked. */
export function isShortage(error: unknown): boolean {
  return SHORTAGES.has(systemCode(error));
}

/** The symbolic name, also of resolver errors ("ENOTFOUND"); undefined for what is no error of the system. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { errno, code } = error as NodeJS.ErrnoException;
  const name = typeof errno === "number" ? nameOf(Math.abs(errno)) : undefined;
  return name ?? (typeof code === "string" ? code : undefined);
}

/** The message, with name and text where Node has put neither. */
export function systemMessage(error: Error): string {
  const code = systemCode(error);
  const text = code === undefined ? undefined : TEXTS[code];
  if (text === undefined) return error.message;
  return error.message.replace(/^(?:(Unknown system error -\d+): \1|UNKNOWN: unknown error)/, `${code}: ${text}`);
}

function nameOf(errno: number): string | undefined {
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
}
