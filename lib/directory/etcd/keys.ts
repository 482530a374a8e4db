// What stands under the directory's prefix in the engine, and how. All servers of the directory read and write it:
//
//     PREFIX/realm              the realm that the servers state, once for ever
//     PREFIX/id                 the directory's id (directory-id.ts): clients remember keys under it, whichever server they are at
//     PREFIX/s/SERVER/RANDOM    a server that is alive; leased. RANDOM is new at each lease: the server's incarnation
//     PREFIX/n/NAME             the row of a registered client; not leased
//     PREFIX/o/NAME             whose the name is; not leased
//     PREFIX/r/ROOM/NAME        the client is in the room; not leased; holds the claim id
//
// NAME and ROOM are folded. A row says which incarnation of which server has written it: when that server's key is gone, its rows
// are dead, and anybody may remove them.
import { foldRoom } from "../../base/names.ts";
import type { ConnectionPlace } from "../directory.ts";
import { DirectoryEntry, isPackedEntry, type PackedEntry } from "../entry.ts";
import { roomsOf } from "../entry-index.ts";
import type { NameLine } from "../name-ownership.ts";

/** Of the values. One that is of another version is not understood, and nothing is changed then. */
const VERSION = 1;

/** A row as the engine keeps it. */
export interface SharedRow {
  readonly packed: PackedEntry;
  readonly claimId: string;
  /** Of the server that has written it. */
  readonly server: string;
  readonly incarnation: string;
  /** At that server. */
  readonly place: ConnectionPlace;
}

export type KeyMeaning =
  | { readonly kind: "server"; readonly server: string; readonly incarnation: string }
  | { readonly kind: "row" | "owner"; readonly folded: string };

export class Keys {
  /** Begins every key, ends with "/". */
  readonly prefix: string;

  /** @param prefix "/ptalk", without a "/" at its end */
  constructor(prefix: string) {
    this.prefix = `${prefix}/`;
  }

  /** What a server keeps in memory begins with one of these. The rooms stand in the rows as well. */
  get followed(): readonly string[] {
    return ["s/", "n/", "o/"].map((kind) => `${this.prefix}${kind}`);
  }
  get id(): string {
    return `${this.prefix}id`;
  }
  get realm(): string {
    return `${this.prefix}realm`;
  }
  /** Never written: see batchOf() in transactions.ts. */
  get quota(): string {
    return `${this.prefix}quota`;
  }
  server(server: string, incarnation: string): string {
    return `${this.prefix}s/${server}/${incarnation}`;
  }
  row(folded: string): string {
    return `${this.prefix}n/${folded}`;
  }
  owner(folded: string): string {
    return `${this.prefix}o/${folded}`;
  }
  room(room: string, folded: string): string {
    return `${this.prefix}r/${foldRoom(room)}/${folded}`;
  }
  /** The keys of the rooms that the client of a row is in. */
  roomsOf(packed: PackedEntry, folded: string): string[] {
    return roomsOf(new DirectoryEntry(packed)).map((room) => this.room(room, folded));
  }

  /** Null for keys that no server keeps in memory: rooms (the rows say them), the realm, and what others have put there. */
  meaningOf(key: string): KeyMeaning | null {
    const at = this.prefix.length;
    const rest = key.slice(at + 2);
    switch (key.slice(at, at + 2)) {
      case "n/":
        return { kind: "row", folded: rest };
      case "o/":
        return { kind: "owner", folded: rest };
      case "s/": {
        const slash = rest.lastIndexOf("/");
        return slash < 1 ? null : { kind: "server", server: rest.slice(0, slash), incarnation: rest.slice(slash + 1) };
      }
      default:
        return null;
    }
  }
}

/** Of what decodeRow() has read, exactly the value that it has read: writers compare it. */
export function encodeRow({ packed, claimId, server, incarnation, place }: SharedRow): Uint8Array {
  const { name, key, startedAt, details } = packed;
  const text = [VERSION, name, key, startedAt, details, claimId, server, incarnation, place.worker, place.connection];
  return Buffer.from(JSON.stringify(text));
}

/** @returns null for a value that is no row: no value under the prefix ends a server */
export function decodeRow(value: Uint8Array): SharedRow | null {
  const fields = parsed(value);
  if (!Array.isArray(fields) || fields.length !== 10 || fields[0] !== VERSION) return null;
  const [, name, key, startedAt, details, claimId, server, incarnation, worker, connection] = fields as unknown[];
  const texts = [name, key, details, claimId, server, incarnation];
  if (!texts.every((text) => typeof text === "string")) return null;
  if (![startedAt, worker, connection].every((number) => typeof number === "number")) return null;
  const packed = { name, key, startedAt, details } as PackedEntry;
  if (!isPackedEntry(packed)) return null;
  return {
    packed,
    claimId: claimId as string,
    server: server as string,
    incarnation: incarnation as string,
    place: { worker, connection } as ConnectionPlace,
  };
}

/** Of what decodeOwner() has read, exactly the value that it has read. */
export function encodeOwner({ key, day, uid, isMunge, login, also, chain }: NameLine): Uint8Array {
  return Buffer.from(JSON.stringify({ v: VERSION, key, day, uid, isMunge, login, also, chain }));
}

export function decodeOwner(folded: string, value: Uint8Array): NameLine | null {
  const line = parsed(value) as ({ readonly v?: unknown } & Partial<NameLine>) | null;
  if (typeof line !== "object" || line === null || line.v !== VERSION) return null;
  const { key, day, uid, isMunge, login, also, chain } = line;
  if (typeof key !== "string" || typeof day !== "number") return null;
  return {
    ...{ folded, key, day },
    ...(typeof uid === "number" ? { uid } : {}),
    ...(isMunge === true ? { isMunge } : {}),
    ...(typeof login === "string" ? { login } : {}),
    ...(typeof also === "string" ? { also } : {}),
    ...(typeof chain === "string" ? { chain } : {}),
  };
}

/** What a server says of itself; nothing where that cannot be understood. */
export function decodeFacts(value: Uint8Array): Readonly<Record<string, unknown>> {
  const facts = parsed(value);
  return typeof facts === "object" && facts !== null ? (facts as Record<string, unknown>) : {};
}

function parsed(value: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("utf8"));
  } catch {
    return null;
  }
}
