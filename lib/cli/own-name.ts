// Going on under the user's own name. A name that was not given explicitly gives way: to NAME.HOST, where it belongs to another key, and in
// `talk` to NAME-2, where another program of this user is on under it. Each time a line says so. A name that was given is insisted on.
import { hostname } from "node:os";
import { TalkError } from "../base/errors.ts";
import { foldIfValid, MAX_NAME_BYTES } from "../base/names.ts";
import type { ConnectOptions, TalkConnection } from "../client/types.ts";
import { ownName } from "./command-context.ts";
import type { Config } from "./config.ts";
import { connectClient } from "./connect.ts";
import { escapeControls } from "./escape-controls.ts";
import { note } from "./output.ts";

/** Sessions of one user under numbered names. */
const MAX_SESSIONS = 99;

export interface Joined {
  readonly client: TalkConnection;
  /** The name that was asked for first. */
  readonly requested: string;
}

type Wanted = Omit<Parameters<typeof connectClient>[1], "name"> & {
  /** A second session of the same user takes NAME-2. */
  readonly isNumbered?: boolean;
};

/** @throws TalkError as TalkClient.connect() */
export async function joinAsSelf(config: Config, { isNumbered = false, ...wanted }: Wanted): Promise<Joined> {
  const requested = ownName(config);
  const attempt: Attempt = { config, wanted, isNumbered };
  try {
    return { client: await join(requested, attempt), requested };
  } catch (error) {
    const fallback = nameAtHost(requested);
    if (config.name !== undefined || fallback === null || !isElsewhere(error)) throw error;
    const client = await join(fallback, attempt);
    note(`you are ${escapeControls(client.name)}: ${reasonOf(error)}`);
    return { client, requested };
  }
}

interface Attempt {
  readonly config: Config;
  readonly wanted: Omit<ConnectOptions, "name" | "server">;
  readonly isNumbered: boolean;
}

async function join(name: string, { config, wanted, isNumbered }: Attempt): Promise<TalkConnection> {
  try {
    return await connectClient(config, { ...wanted, name });
  } catch (error) {
    if (!isNumbered || !isOwnSession(error)) throw error;
    const { replace: _, ...others } = wanted; // what a person takes over is the first name
    for (let session = 2; session <= MAX_SESSIONS; session++) {
      const numbered = `${name}-${session}`;
      if (foldIfValid(numbered) === null) throw error;
      try {
        const client = await connectClient(config, { ...others, name: numbered });
        note(`you are ${escapeControls(numbered)}: another program of yours is on as ${escapeControls(name)}`);
        return client;
      } catch (next) {
        if (!isOwnSession(next) && !isElsewhere(next)) throw next; // that login exists, or somebody has the name: the next number
      }
    }
    throw error;
  }
}

/** Another program with our key is on under the name. */
function isOwnSession(error: unknown): boolean {
  return error instanceof TalkError && error.code === "name-taken" && error.remedy === "own-session";
}

/** Somebody else has the name. */
function isElsewhere(error: unknown): error is TalkError {
  if (!(error instanceof TalkError) || isOwnSession(error)) return false;
  return error.code === "name-taken" || error.code === "name-reserved";
}

const reasonOf = (error: TalkError): string => error.message;

/** "bob.login1", null if that cannot be a name. */
function nameAtHost(name: string): string | null {
  const host = hostname()
    .replace(/\..*/, "")
    .replace(/[^A-Za-z0-9_-]/g, "");
  const place = Buffer.from(`.${host}`)
    .subarray(0, MAX_NAME_BYTES - Buffer.byteLength(name))
    .toString();
  const made = `${name}${place}`;
  return host !== "" && place.length > 1 && foldIfValid(made) !== null ? made : null;
}
