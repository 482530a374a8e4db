// The signature of a command's function.
import type { RequestParser } from "../wire/resp-request.ts";
import type { ReplyWriter } from "../wire/resp-writer.ts";
import type { Connection } from "./connection.ts";
import type { WorkerContext } from "./worker-context.ts";

/**
 * Answers a request: into `out`, or later through connection.write() if it gives a promise.
 * @param args behind the command's name, as text; as they came they are in `request` until the handler returns
 * @throws CommandError with the error reply, DirectoryError
 */
export type Handler = (
  context: WorkerContext,
  connection: Connection,
  args: readonly string[],
  out: ReplyWriter,
  request: RequestParser,
) => Promise<void> | undefined;
