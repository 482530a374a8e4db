// How the commands reach the client: its modules are loaded only when a command needs them, all settings passed on.

import { TalkError } from "../base/errors.ts";
import { seconds } from "../base/seconds.ts";
import type { ConnectOptions, DirectoryReader, TalkConnection } from "../client/types.ts";
import type { Config } from "./config.ts";
import { note } from "./output.ts";

type Wanted = Pick<
  ConnectOptions,
  | "name"
  | "register"
  | "recipients"
  | "deliver"
  | "receiveAfter"
  | "startServer"
  | "signal"
  | "history"
  | "fold"
  | "unattended"
  | "replace"
>;

/** Registers with the lookup server and opens the chat socket. */
export async function connectClient(config: Config, wanted: Wanted): Promise<TalkConnection> {
  const { TalkClient } = await import("../client/talk-client.ts");
  const { server, stateDir, insecure, ca, port, insistsOnPort, accept, listed, relay } = config;
  const client = await TalkClient.connect({
    ...wanted,
    server,
    stateDir,
    insecure,
    ca,
    accept,
    listed,
    relay,
    ...(port === undefined ? {} : { port, portFallback: insistsOnPort !== true }),
  });
  if (port && client.port !== port && wanted.register !== "never") {
    note(`UDP port ${port} is taken by another program; messages come to port ${client.port}`);
  }
  return client;
}

/** What a conversation keeps, by the settings. @param tell hears once that it is not kept, and why */
export function keepHistory(
  { history, historyDays }: Config,
  tell: (text: string) => void,
): NonNullable<ConnectOptions["history"]> {
  if (!history) return false;
  return { days: historyDays, onFailure: ({ message }) => tell(`what is said is not kept in the history: ${message}`) };
}

/** For each server, to connect and to be greeted; one that is there takes milliseconds. */
const DIRECTORY_TIMEOUT_MS = 5_000;

/**
 * A server at the default address ends when no user is on; users need not know of it. So if no server listens there,
 * and the user named none, no user is on.
 */
export function nobodyOn({ serverConfigured }: Config, error: unknown): unknown {
  const listensNobody = error instanceof TalkError && error.remedy === "start-server";
  return listensNobody && !serverConfigured ? TalkError.nobodyOn() : error;
}

/** Runs `use` with a reading connection to the server's directory. @throws TalkError no-such-user, see nobodyOn() */
export async function withDirectory<T>(config: Config, use: (directory: DirectoryReader) => Promise<T>): Promise<T> {
  const { openDirectory } = await import("../client/directory-reader.ts");
  const { server, stateDir, insecure, ca } = config;
  const usualMs = DIRECTORY_TIMEOUT_MS * server.split(",").length;
  const timeoutMs = config.timeout === undefined ? usualMs : Math.ceil(config.timeout * 1000);
  const signal = AbortSignal.timeout(timeoutMs);
  const directory = await openDirectory({ server, stateDir, insecure, ca, timeoutMs, signal }).catch(
    (error: unknown) => {
      throw signal.aborted
        ? TalkError.unreachable(server, `no answer within ${seconds(timeoutMs)}`, error)
        : nobodyOn(config, error);
    },
  );
  try {
    return await use(directory);
  } finally {
    await directory.close();
  }
}
