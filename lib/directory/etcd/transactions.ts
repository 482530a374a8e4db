// Every write to the engine, as a transaction. Pure. What they keep true, whatever the order in which they arrive, and however late:
//
//   1. A name has at most one current row: there is one key for it.
//   2. A row is removed by nobody but its writer or its successor, and when its writer's server is gone: every write of a row
//      compares the mod_revision of what it replaces, so it never touches a row that its sender does not know. It compares the value as well:
//      a backup that was restored gives revisions out again.
//   3. A confirmed claim is visible, or has been superseded: the row and the owner of the name are written together.
//   4. Every server's table converges: nothing is decided by what a server has read, so a table that is behind costs a repetition,
//      not a wrong row.
//
// A writer compares the mod_revision of its own server's key as well. It is 0 once the lease is lost, so a server that has lost it writes no
// row. And the server writes that key again when an outcome is unknown (session.ts): whatever of it is still on its way fails then.

import type { NameLine } from "../name-ownership.ts";
import type { Compare, Operation, Revision, Transaction } from "./engine.ts";
import { encodeOwner, encodeRow, type Keys, type SharedRow } from "./keys.ts";

/** A server's own key, and its mod_revision. */
export interface OwnKey {
  readonly key: string;
  readonly epoch: Revision;
}

/** What a server knows of a key: its mod_revision, 0 when it is not there. */
export interface KnownRow {
  readonly mod: Revision;
  readonly row: SharedRow;
}

/** The same of the owner of a name. */
export interface KnownOwner {
  readonly mod: Revision;
  readonly line: NameLine;
}

export interface RowWrite {
  readonly folded: string;
  readonly row: SharedRow;
  /** The row that it replaces. */
  readonly before: KnownRow | null;
  /** The key of the server whose death allows it; null where the claim id, or a person, does. */
  readonly deadServer: string | null;
  /** The name's owner by which it was decided, null: nobody; and what is to stand there, null: as it is. */
  readonly owner: { readonly known: KnownOwner | null; readonly line: NameLine | null };
  /** A name that its key gives up for this one. */
  readonly givesWay: GivenUp | null;
}

export interface GivenUp {
  readonly folded: string;
  readonly known: KnownOwner | null;
}

/** Claim, take-over, and every change of a row. */
export function writeRow(
  keys: Keys,
  own: OwnKey,
  { folded, row, before, deadServer, owner, givesWay }: RowWrite,
): Transaction {
  const rooms = keys.roomsOf(row.packed, folded);
  const left = before === null ? [] : keys.roomsOf(before.row.packed, folded).filter((room) => !rooms.includes(room));
  return {
    when: [
      modIs(own.key, own.epoch),
      ...rowIs(keys, folded, before),
      ...ownerIs(keys, folded, owner.known),
      ...(deadServer === null ? [] : [isGone(deadServer)]),
      ...(givesWay === null ? [] : ownerIs(keys, givesWay.folded, givesWay.known)),
    ],
    then: [
      { put: keys.row(folded), value: encodeRow(row) },
      ...rooms.map((room): Operation => ({ put: room, value: Buffer.from(row.claimId) })),
      ...left.map((room): Operation => ({ delete: room })),
      ...ownerOperations(keys, folded, owner.line),
      ...(givesWay === null ? [] : [{ delete: keys.owner(givesWay.folded) }]),
    ],
    otherwise: readBack(keys, folded, givesWay?.folded),
  };
}

/** Takes out the row. @param deadServer as above: the janitor removes for others */
export function removeRow(keys: Keys, folded: string, known: KnownRow, deadServer: string | null): Transaction {
  return {
    when: [...rowIs(keys, folded, known), ...(deadServer === null ? [] : [isGone(deadServer)])],
    then: [
      { delete: keys.row(folded) },
      ...keys.roomsOf(known.row.packed, folded).map((room): Operation => ({ delete: room })),
    ],
    otherwise: readBack(keys, folded),
  };
}

export interface OwnerWrite {
  readonly folded: string;
  readonly known: KnownOwner | null;
  /** Null: the name has no owner. */
  readonly line: NameLine | null;
  /** The row under the name, by which it was decided. */
  readonly row: KnownRow | null;
  readonly givesWay: RowWrite["givesWay"];
}

/** Binds or releases a name. */
export function writeOwner(keys: Keys, own: OwnKey, { folded, known, line, row, givesWay }: OwnerWrite): Transaction {
  return {
    when: [
      modIs(own.key, own.epoch),
      ...ownerIs(keys, folded, known),
      ...rowIs(keys, folded, row),
      ...(givesWay === null ? [] : ownerIs(keys, givesWay.folded, givesWay.known)),
    ],
    then: [
      ...(line === null ? [{ delete: keys.owner(folded) }] : ownerOperations(keys, folded, line)),
      ...(givesWay === null ? [] : [{ delete: keys.owner(givesWay.folded) }]),
    ],
    otherwise: readBack(keys, folded, givesWay?.folded),
  };
}

/**
 * Several at once, each with its own outcome. etcd counts only what a transaction itself puts against its quota, and no nested one: one that
 * claims names a put that never happens, or a full engine would take claims until its file cannot grow.
 */
export function batchOf(keys: Keys, transactions: readonly Transaction[], isClaiming: boolean): Transaction {
  const then = transactions.map((transaction) => ({ transaction }));
  return { when: [], then, otherwise: isClaiming ? [{ put: keys.quota, value: Buffer.alloc(0) }] : [] };
}

/** Reads what decides about a name. */
export function readName(keys: Keys, folded: string): Transaction {
  return { when: [], then: readBack(keys, folded), otherwise: [] };
}

/** A server that begins an incarnation. Its last one ends here, and with it whatever of it is still on its way. */
export function beginIncarnation({ key, lease, value, last }: Incarnation): Transaction {
  return {
    when: [isGone(key)],
    then: [{ put: key, value, lease }, ...(last === null ? [] : [{ delete: last }])],
    otherwise: [],
  };
}

/** The first server of a directory states it, for good: the realm, the id. */
export function stateOnce(key: string, text: string): Transaction {
  return { when: [isGone(key)], then: [{ put: key, value: Buffer.from(text) }], otherwise: [{ get: key }] };
}

export interface Incarnation {
  readonly key: string;
  readonly lease: string;
  readonly value: Uint8Array;
  /** The key of the one before. */
  readonly last: string | null;
}

/** Makes everything fail that the server has sent before; and reads back what has come of it. */
export function fence(
  keys: Keys,
  own: OwnKey,
  lease: string,
  value: Uint8Array,
  names: readonly string[],
): Transaction {
  const reads = names.map((folded): Operation => ({ transaction: readName(keys, folded) }));
  return {
    when: [modIs(own.key, own.epoch)],
    then: [{ put: own.key, value, lease }, ...reads],
    otherwise: [{ get: own.key }, ...reads],
  };
}

/** All keys that it may write: no two transactions of a batch may write the same. */
export function keysWritten({ then, otherwise }: Transaction): string[] {
  return [...then, ...otherwise].flatMap((operation) => {
    if ("put" in operation) return [operation.put];
    if ("delete" in operation) return [operation.delete];
    return "transaction" in operation ? keysWritten(operation.transaction) : [];
  });
}

function ownerOperations(keys: Keys, folded: string, line: NameLine | null): Operation[] {
  return line === null ? [] : [{ put: keys.owner(folded), value: encodeOwner(line) }];
}

function readBack(keys: Keys, folded: string, other?: string): Operation[] {
  const names = other === undefined || other === folded ? [folded] : [folded, other];
  return names.flatMap((name) => [{ get: keys.row(name) }, { get: keys.owner(name) }]);
}

function rowIs(keys: Keys, folded: string, known: KnownRow | null): Compare[] {
  return isAsKnown(keys.row(folded), known, known && encodeRow(known.row));
}

function ownerIs(keys: Keys, folded: string, known: KnownOwner | null): Compare[] {
  return isAsKnown(keys.owner(folded), known, known && encodeOwner(known.line));
}

function isAsKnown(key: string, known: { readonly mod: Revision } | null, value: Uint8Array | null): Compare[] {
  if (known === null || value === null) return [modIs(key, 0)];
  return [modIs(key, known.mod), { key, what: "value", is: "=", value }];
}

function modIs(key: string, revision: Revision): Compare {
  return { key, what: "mod", is: "=", revision };
}

/** Never by its value: to compare that of a key that is not there is always false. */
function isGone(key: string): Compare {
  return { key, what: "create", is: "=", revision: 0 };
}
