// The questions that any connection may ask the server: who is this, who is on, whose is this name.
import { TalkError } from "../base/errors.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import { type DirectoryRecord, directoryRecord } from "./directory-record.ts";
import type { ServerConnection } from "./server-connection.ts";

const PAGE = 512; // clients asked for at once: a page is some 100 KiB
const MAX_PAGES = 8192; // of a server whose cursor never ends

export async function lookupRecord(connection: ServerConnection, name: string): Promise<DirectoryRecord | null> {
  return directoryRecord(await connection.ask("LOOKUP", name));
}

/** The key (base64) that the name belongs to, whether its owner is on or not; null if to none. */
export async function ownerOf(connection: ServerConnection, name: string): Promise<string | null> {
  const reply = await connection.ask("KEY", name);
  if (reply === null) return null;
  if (typeof reply !== "string" || decodeBase64(reply, KEY_BYTES) === null) {
    throw TalkError.protocol("KEY is not answered with a key");
  }
  return reply;
}

/** Everyone, page by page; who joins or leaves meanwhile may or may not be in it (as with SCAN), nobody is twice. */
export async function allRecords(connection: ServerConnection): Promise<DirectoryRecord[]> {
  const found = new Map<string, DirectoryRecord>();
  let cursor = "0";
  for (let page = 0; page < MAX_PAGES; page++) {
    const reply: RespValue = await connection.ask("ALL", "CURSOR", cursor, "COUNT", PAGE);
    if (!Array.isArray(reply) || !Array.isArray(reply[1])) throw TalkError.protocol("ALL is not a cursor and a page");
    for (const item of reply[1]) {
      const record = directoryRecord(item);
      if (record) found.set(record.name, record);
    }
    cursor = String(reply[0]);
    if (cursor === "0") return [...found.values()];
  }
  throw TalkError.protocol("ALL has no end");
}
