// The errors of a table as a whole. Each is a sentence that names the segment.
import { TalkError } from "../../base/errors.ts";

export const TableError = {
  /** @param found and wanted words such as "layout version 2" */
  mismatch(path: string, found: string, wanted: string): TalkError {
    return new TalkError("protocol", `${path} holds ${found}; this ptalk reads ${wanted}`);
  },
  notATable(path: string, reason: string): TalkError {
    return new TalkError("protocol", `${path} is not a client table: ${reason}`);
  },
  /** @param waitedMs milliseconds */
  notReady(path: string, waitedMs: number): TalkError {
    return new TalkError(
      "unreachable",
      `the table ${path} was still not ready after ${waitedMs} ms: its maker has not finished, or died`,
    );
  },
  retired(path: string): TalkError {
    return new TalkError("unreachable", `the table ${path} was closed: its server has shut down`);
  },
  unsteady(path: string): TalkError {
    return TalkError.internal(
      `${path} kept changing while it was read: another process is writing without order there`,
    );
  },
  damaged(path: string, what: string): TalkError {
    return TalkError.internal(`${path} is damaged (${what}): it has to be repaired under the write lock`);
  },
  closed(path: string): TalkError {
    return TalkError.closed(`the client table ${path}`);
  },
} as const;
