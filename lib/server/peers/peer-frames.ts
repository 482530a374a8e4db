// What servers of one directory send each other: requests of RESP without replies. Each may be lost, as a datagram may: a sender that waits for
// what it causes asks again. Bytes only.
//
//     CALL, KNOCK, RELAY    for a client there, see ForPeer
//     HAND                  a kept message for a client that is on there; answered by
//     TOOK                  it is on the disk there, or why not (mail-handover.ts)
import { type Endpoint, endpointProblem, MAX_ENDPOINTS } from "../../base/endpoint.ts";
import { foldName, MAX_NAME_BYTES } from "../../base/names.ts";
import { decodeBase64, KEY_BYTES } from "../../crypto/signed-statements.ts";
import { DirectoryEntry } from "../../directory/entry.ts";
import type { Carried, NewLeft } from "../../store/mailbox.ts";
import { MAX_ID_BYTES } from "../../wire/datagram-message.ts";
import { encodeCommand } from "../../wire/resp-command.ts";
import { MAX_ARGUMENT_BYTES } from "../../wire/resp-limits.ts";
import type { RespValue } from "../../wire/resp-reply.ts";
import type { NotAccepted } from "../mailbox-office.ts";
import type { Callee, KnockMessage, RelayedDatagram, ToWorker } from "../messages.ts";

/** For a client at another server. */
export type ForPeer = Extract<ToWorker, { type: "call" }> | KnockMessage | RelayedDatagram;

/** A kept message on its way to the server that its recipient is at. */
export interface HandMessage extends Carried {
  readonly type: "hand";
  /** The sender, by its name. */
  readonly server: string;
  /** Of its file here: the answer repeats it. */
  readonly name: string;
  readonly message: NewLeft;
}

export interface TookMessage {
  readonly type: "took";
  /** The sender, by its name. */
  readonly server: string;
  readonly name: string;
  /** Null: it is kept there. */
  readonly why: NotAccepted | null;
}

export type PeerMessage = ForPeer | HandMessage | TookMessage;

export const isForPeer = (message: ToWorker): message is ForPeer => ["call", "knock", "relay"].includes(message.type);

const DIGITS = /^\d{1,15}$/;
const CLAIM_ID = /^[A-Za-z0-9+/]{16}$/;
/** Bytes of any text in a frame: an entry with everything in it has less. */
const MAX_TEXT = 16_384;
/** Of a file in a mailbox. */
const FILE_NAME = /^[0-9a-f.]{1,64}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** Of a folded name: folding makes some letters longer. */
const MAX_FOLDED = 4 * MAX_NAME_BYTES;
/** A receipt's id names its message's recipient too. */
const MAX_LEFT_ID = MAX_ID_BYTES + 1 + MAX_FOLDED;
/** "uid 1000", an address; and the server that it is an account of. */
const MAX_ACCOUNT = 256;
const REFUSALS: readonly string[] = ["none", "full", "old", "failed"] satisfies NotAccepted[];

export function encodeForPeer(message: PeerMessage): Buffer {
  if (message.type === "took") return encodeCommand(["TOOK", message.server, message.name, message.why ?? ""]);
  if (message.type === "hand") {
    const { server, name, at, again, message: left } = message;
    const flags = [again, left.attested, left.receipt].map(Number);
    const who = [left.to, left.id, left.from, left.sender, left.account];
    return encodeCommand(["HAND", server, name, at, ...flags, ...who, left.bytes.toString("base64")]);
  }
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
export function decodeFromPeer(value: RespValue): PeerMessage | null {
  if (!Array.isArray(value) || !value.every((word) => typeof word === "string")) return null;
  const words = value as string[];
  if (words[0] === "HAND") return hand(words);
  if (!words.every((word) => word.length <= MAX_TEXT)) return null;
  if (words[0] === "TOOK") return took(words);
  const [type, name = "", worker = "", connection = "", claimId = "", ...rest] = words;
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || !CLAIM_ID.test(claimId)) return null;
  if (!DIGITS.test(worker) || !DIGITS.test(connection)) return null;
  const place = { worker: Number(worker), connection: Number(connection), claimId };
  const to: Callee = name === "" ? place : { ...place, elsewhere: { server: "", name } };
  if (type === "CALL") return call(to, rest);
  if (type === "KNOCK") return knock(to, rest);
  const [from = "", bytes = ""] = rest;
  return type === "RELAY" && rest.length === 2 ? { type: "relay", to, from, bytes } : null;
}

function hand(words: readonly string[]): HandMessage | null {
  if (words.length !== 13) return null;
  const [, server = "", name = "", at = "", again = "", attested = "", receipt = "", ...left] = words;
  const [to = "", id = "", from = "", sender = "", account = "", bytes = ""] = left;
  if (!FILE_NAME.test(name) || !DIGITS.test(at) || ![again, attested, receipt].every((flag) => /^[01]$/.test(flag)))
    return null;
  const idBytes = Buffer.byteLength(id);
  if (idBytes < 1 || idBytes > MAX_LEFT_ID || decodeBase64(from, KEY_BYTES) === null) return null;
  if (to === "" || !isFolded(to) || !isFolded(sender)) return null;
  if (Buffer.byteLength(account) > MAX_ACCOUNT) return null;
  if (bytes === "" || bytes.length > MAX_ARGUMENT_BYTES || !BASE64.test(bytes)) return null;
  const isSet = (flag: string): boolean => flag === "1";
  const message = { to, id, from, sender, account, attested: isSet(attested), receipt: isSet(receipt) };
  const carried = { at: Number(at), again: isSet(again) };
  return { type: "hand", server, name, ...carried, message: { ...message, bytes: Buffer.from(bytes, "base64") } };
}

const isFolded = (name: string): boolean => Buffer.byteLength(name) <= MAX_FOLDED && foldName(name) === name;

function took([, server = "", name = "", why = "", ...more]: readonly string[]): TookMessage | null {
  if (more.length > 0 || !FILE_NAME.test(name) || (why !== "" && !REFUSALS.includes(why))) return null;
  return { type: "took", server, name, why: why === "" ? null : (why as NotAccepted) };
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
