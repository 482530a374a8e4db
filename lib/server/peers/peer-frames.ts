// What servers of one directory send each other: requests of RESP without replies. Each may be lost, as a datagram may: a sender that waits for
// what it causes asks again. Bytes only.
import { type Endpoint, endpointProblem, MAX_ENDPOINTS } from "../../base/endpoint.ts";
import { MAX_NAME_BYTES } from "../../base/names.ts";
import { decodeBase64, KEY_BYTES } from "../../crypto/signed-statements.ts";
import { DirectoryEntry } from "../../directory/entry.ts";
import { encodeCommand } from "../../wire/resp-command.ts";
import type { RespValue } from "../../wire/resp-reply.ts";
import type { Callee, KnockMessage, RelayedDatagram, ToWorker } from "../messages.ts";

/** For a client at another server. */
export type ForPeer = Extract<ToWorker, { type: "call" }> | KnockMessage | RelayedDatagram;

export const isForPeer = (message: ToWorker): message is ForPeer => ["call", "knock", "relay"].includes(message.type);

const DIGITS = /^\d{1,15}$/;
const CLAIM_ID = /^[A-Za-z0-9+/]{16}$/;
/** Bytes of any text in a frame: an entry with everything in it has less. */
const MAX_TEXT = 16_384;

export function encodeForPeer(message: ForPeer): Buffer {
  const { worker, connection, claimId, elsewhere } = message.to;
  const to = [elsewhere?.name ?? "", worker, connection, claimId];
  switch (message.type) {
    case "call": {
      const { name, key, startedAt, details } = message.from;
      return encodeCommand(["CALL", ...to, name, key, startedAt, details]);
    }
    case "knock":
      return encodeCommand([
        "KNOCK",
        ...to,
        message.key,
        ...message.from.flatMap(({ address, port }) => [address, port]),
      ]);
    case "relay":
      return encodeCommand(["RELAY", ...to, message.from, message.bytes]);
  }
}

/** @returns null for bytes that are no frame of this version: the link is of no use then */
export function decodeFromPeer(value: RespValue): ForPeer | null {
  if (!Array.isArray(value) || !value.every((word) => typeof word === "string" && word.length <= MAX_TEXT)) return null;
  const [type, name = "", worker = "", connection = "", claimId = "", ...rest] = value as string[];
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || !CLAIM_ID.test(claimId)) return null;
  if (!DIGITS.test(worker) || !DIGITS.test(connection)) return null;
  const place = { worker: Number(worker), connection: Number(connection), claimId };
  const to: Callee = name === "" ? place : { ...place, elsewhere: { server: "", name } };
  if (type === "CALL") return call(to, rest);
  if (type === "KNOCK") return knock(to, rest);
  const [from = "", bytes = ""] = rest;
  return type === "RELAY" && rest.length === 2 ? { type: "relay", to, from, bytes } : null;
}

function call(to: Callee, [name = "", key = "", startedAt = "", details = "", ...more]: string[]): ForPeer | null {
  if (more.length > 0 || !DIGITS.test(startedAt)) return null;
  const from = { name, key, startedAt: Number(startedAt), details };
  try {
    if (new DirectoryEntry(from).endpoints.length === 0) return null;
  } catch {
    return null;
  }
  return { type: "call", to, from };
}

function knock(to: Callee, [key = "", ...words]: string[]): ForPeer | null {
  if (decodeBase64(key, KEY_BYTES) === null || words.length % 2 !== 0 || words.length > 2 * MAX_ENDPOINTS) return null;
  const from: Endpoint[] = [];
  for (let i = 0; i < words.length; i += 2) from.push({ address: words[i] as string, port: Number(words[i + 1]) });
  return from.every((endpoint) => endpointProblem(endpoint) === null) ? { type: "knock", to, key, from } : null;
}
