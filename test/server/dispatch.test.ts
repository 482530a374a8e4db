// Whatever goes wrong in a request is an answer to it, and no more.
import { describe, expect, it } from "vitest";
import type { Directory } from "../../lib/directory/directory.ts";
import { DirectoryError, type DirectoryErrorCode } from "../../lib/directory/directory-error.ts";
import type { Connection } from "../../lib/server/connection.ts";
import { dispatch } from "../../lib/server/dispatch.ts";
import { silentLog } from "../../lib/server/log.ts";
import type { WorkerContext } from "../../lib/server/worker-context.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import { RequestParser } from "../../lib/wire/resp-request.ts";
import { ReplyWriter } from "../../lib/wire/resp-writer.ts";

interface Outcome {
  readonly reply: string;
  readonly refusals: string[];
  readonly logged: string[];
}

/** Carries out LOOKUP bob, behind another reply, on a directory whose find() does this. */
async function lookup(find: Directory["find"], replies: Directory["replies"] = null): Promise<Outcome> {
  const [refusals, logged]: [string[], string[]] = [[], []];
  const context = {
    requests: 0,
    directory: { find, replies },
    log: { ...silentLog, error: (event: string) => logged.push(event) },
    refused: (reason: string) => refusals.push(reason),
    noteLookup() {},
  } as unknown as WorkerContext;
  const out = new ReplyWriter();
  out.simple("BEFORE");
  const connection = { client: null, protocol: 2, write: (fill: (to: ReplyWriter) => void) => fill(out) };
  const request = new RequestParser();
  request.open(null, encodeCommand(["LOOKUP", "bob"]));
  expect(request.next()).toBe(true);
  await dispatch(context, connection as unknown as Connection, request, out);
  expect(context.requests).toBe(1);
  return { reply: out.bytes().toString(), refusals, logged };
}

const broken = (): never => {
  throw new Error("secret of this machine");
};

describe("an error that is not foreseen is logged, and shown without its text", () => {
  const expected = {
    reply: "+BEFORE\r\n-ERR internal error\r\n",
    refusals: ["internal"],
    logged: ["request failed"],
  };
  it("thrown", async () => expect(await lookup(broken)).toEqual(expected));
  it("by a promise", async () => expect(await lookup(async () => broken())).toEqual(expected));
  it("by the replies that are kept ready", async () => {
    const replies = { writeIfFresh: broken, store: broken };
    expect(await lookup(() => null, replies)).toEqual(expected);
  });
  it("behind a part of the reply", async () => {
    const replies: Directory["replies"] = {
      writeIfFresh: (_bytes, _start, _end, _protocol, out) => {
        out.array(3);
        return broken();
      },
      store: () => false,
    };
    expect(await lookup(() => null, replies)).toEqual(expected);
  });
});

const WORDS: Record<DirectoryErrorCode, string> = {
  taken: "TAKEN",
  reserved: "RESERVED",
  "too-many": "TOOMANY",
  full: "FULL",
  "try-again": "TRYAGAIN",
  replaced: "REPLACED",
  "bad-name": "BADNAME",
  "bad-entry": "ERR",
};

describe.each(Object.entries(WORDS))("what the directory refuses as %s is -%s with its sentence", (code, word) => {
  const refusal = new DirectoryError(code as DirectoryErrorCode, "the reason\r\nin two lines");
  const expected = { reply: `+BEFORE\r\n-${word} the reason in two lines\r\n`, refusals: [word], logged: [] };
  it("at once", async () => {
    const find = () => {
      throw refusal;
    };
    expect(await lookup(find)).toEqual(expected);
  });
  it("later", async () => expect(await lookup(() => Promise.reject(refusal))).toEqual(expected));
});
