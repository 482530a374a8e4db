// etcd's messages (kv.proto and rpc.proto, beside this file) from and to the engine's words. Only what the engine needs is read; only
// what it sends is written. The numbers are the fields' numbers there.
import type {
  Compare,
  EngineEvent,
  EngineState,
  KeyValue,
  LeaseId,
  Operation,
  OperationResult,
  Page,
  Revision,
  Transaction,
  TransactionResult,
} from "./engine.ts";
import { MessageReader, MessageWriter, ProtobufError } from "./protobuf.ts";

/** A call of etcd: its path, and how both messages are written. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly encode: (request: Request) => Buffer;
  readonly decode: (bytes: Buffer) => Response;
}

const NO_STATE: EngineState = { cluster: "0", revision: 0 };
/** The range of all keys from one on, in place of an end. */
const TO_THE_END = Uint8Array.of(0);
const EMPTY = new Uint8Array(0);

const keyBytes = (key: string): Buffer => Buffer.from(key);

/** The first key behind all that begin with `prefix`. */
function endOf(prefix: string): Uint8Array {
  const end = keyBytes(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] as number;
    if (byte === 0xff) continue; // never in UTF-8, but the loop stays right for any bytes
    end[i] = byte + 1;
    return end.subarray(0, i + 1);
  }
  return TO_THE_END;
}

function readHeader(reader: MessageReader): EngineState {
  let cluster = "0";
  let revision = 0;
  while (reader.next()) {
    if (reader.field === 1) cluster = reader.decimal();
    else if (reader.field === 3) revision = reader.number();
  }
  return { cluster, revision };
}

function readKeyValue(reader: MessageReader): KeyValue {
  let key = "";
  let value: Uint8Array = EMPTY;
  let createRevision = 0;
  let modRevision = 0;
  let lease: LeaseId = "0";
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        key = reader.text();
        break;
      case 2:
        createRevision = reader.number();
        break;
      case 3:
        modRevision = reader.number();
        break;
      case 5:
        value = reader.bytes();
        break;
      case 6:
        lease = reader.decimal();
        break;
    }
  }
  return { key, value, createRevision, modRevision, lease };
}

// Transactions

const COMPARE_RESULTS = { "=": 0, ">": 1 } as const;
const COMPARE_TARGETS = { create: 1, mod: 2, value: 3 } as const;
const COMPARE_FIELDS = { create: 5, mod: 6, value: 7 } as const;

function writeCompare(compare: Compare): MessageWriter {
  const { key, what, is } = compare;
  const writer = new MessageWriter()
    .number(1, COMPARE_RESULTS[is])
    .number(2, COMPARE_TARGETS[what])
    .bytes(3, keyBytes(key));
  // Of a oneof that is left out etcd compares with 0, and with an empty value.
  return what === "value"
    ? writer.bytes(COMPARE_FIELDS[what], compare.value)
    : writer.number(COMPARE_FIELDS[what], compare.revision);
}

function writeOperation(operation: Operation): MessageWriter {
  const writer = new MessageWriter();
  if ("get" in operation) return writer.message(1, new MessageWriter().bytes(1, keyBytes(operation.get)));
  if ("put" in operation) {
    const put = new MessageWriter().bytes(1, keyBytes(operation.put)).bytes(2, operation.value);
    return writer.message(2, put.decimal(3, operation.lease ?? "0"));
  }
  if ("delete" in operation) return writer.message(3, new MessageWriter().bytes(1, keyBytes(operation.delete)));
  return writer.message(4, writeTransaction(operation.transaction));
}

function writeTransaction({ when, then, otherwise }: Transaction): MessageWriter {
  const writer = new MessageWriter();
  for (const compare of when) writer.message(1, writeCompare(compare));
  for (const operation of then) writer.message(2, writeOperation(operation));
  for (const operation of otherwise) writer.message(3, writeOperation(operation));
  return writer;
}

function readTransactionResult(reader: MessageReader): TransactionResult {
  let state = NO_STATE;
  let succeeded = false;
  const results: OperationResult[] = [];
  while (reader.next()) {
    if (reader.field === 1) state = readHeader(reader.message());
    else if (reader.field === 2) succeeded = reader.boolean();
    else if (reader.field === 3) results.push(readOperationResult(reader.message()));
  }
  return { ...state, succeeded, results };
}

function readOperationResult(reader: MessageReader): OperationResult {
  let result: OperationResult | undefined;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        result = { kind: "get", value: readPage(reader.message()).values[0] ?? null };
        break;
      case 2:
        result = { kind: "put" };
        break;
      case 3:
        result = { kind: "delete", deleted: readDeleted(reader.message()) > 0 };
        break;
      case 4: {
        const { succeeded, results } = readTransactionResult(reader.message());
        result = { kind: "transaction", succeeded, results };
        break;
      }
    }
  }
  if (result === undefined) throw new ProtobufError("an answer of a transaction is of an unknown kind");
  return result;
}

function readDeleted(reader: MessageReader): number {
  let deleted = 0;
  while (reader.next()) if (reader.field === 2) deleted = reader.number();
  return deleted;
}

export const TXN: Method<Transaction, TransactionResult> = {
  path: "/etcdserverpb.KV/Txn",
  encode: (transaction) => writeTransaction(transaction).finish(),
  decode: (bytes) => readTransactionResult(new MessageReader(bytes)),
};

// Ranges

export interface RangeRequest {
  readonly prefix: string;
  /** Empty: from the first key on. */
  readonly after: string;
  readonly limit: number;
  /** 0: now. */
  readonly revision: Revision;
}

function readPage(reader: MessageReader): Page {
  let state = NO_STATE;
  let more = false;
  const values: KeyValue[] = [];
  while (reader.next()) {
    if (reader.field === 1) state = readHeader(reader.message());
    else if (reader.field === 2) values.push(readKeyValue(reader.message()));
    else if (reader.field === 3) more = reader.boolean();
  }
  return { ...state, values, more };
}

export const RANGE: Method<RangeRequest, Page> = {
  path: "/etcdserverpb.KV/Range",
  encode({ prefix, after, limit, revision }) {
    // The key behind `after` is `after` with a zero; an empty prefix begins with the least key, which is a zero.
    const first = after === "" ? keyBytes(prefix || "\0") : keyBytes(`${after}\0`);
    const range = new MessageWriter().bytes(1, first).bytes(2, endOf(prefix)).number(3, limit);
    return range.number(4, revision).finish();
  },
  decode: (bytes) => readPage(new MessageReader(bytes)),
};

// Leases

export const LEASE_GRANT: Method<number, LeaseId> = {
  path: "/etcdserverpb.Lease/LeaseGrant",
  encode: (seconds) => new MessageWriter().number(1, seconds).finish(),
  decode(bytes) {
    const reader = new MessageReader(bytes);
    let id: LeaseId = "0";
    while (reader.next()) if (reader.field === 2) id = reader.decimal();
    return id;
  },
};

export const LEASE_REVOKE: Method<LeaseId, void> = {
  path: "/etcdserverpb.Lease/LeaseRevoke",
  encode: (lease) => new MessageWriter().decimal(1, lease).finish(),
  decode: () => {},
};

/** The answer is the seconds to live: 0 of a lease that is not there. */
export const LEASE_KEEP_ALIVE: Method<LeaseId, number> = {
  path: "/etcdserverpb.Lease/LeaseKeepAlive",
  encode: LEASE_REVOKE.encode,
  decode(bytes) {
    const reader = new MessageReader(bytes);
    let seconds = 0;
    while (reader.next()) if (reader.field === 3) seconds = reader.number();
    return Math.max(0, seconds);
  },
};

// Watches

export interface WatchRequest {
  readonly prefix: string;
  readonly from: Revision;
}

export interface WatchResponse {
  readonly state: EngineState;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Not 0: the first revision that can be watched from. */
  readonly compactRevision: Revision;
  readonly cancelReason: string;
  /** More of it follows. */
  readonly isFragment: boolean;
  readonly events: readonly EngineEvent[];
}

const DELETE = 1;

function readEvent(reader: MessageReader): EngineEvent {
  let type = 0;
  let value: KeyValue | undefined;
  while (reader.next()) {
    if (reader.field === 1) type = reader.number();
    else if (reader.field === 2) value = readKeyValue(reader.message());
  }
  if (value === undefined) throw new ProtobufError("an event has no key");
  const revision = value.modRevision;
  return type === DELETE ? { delete: value.key, revision } : { put: value, revision };
}

export const WATCH: Method<WatchRequest, WatchResponse> = {
  path: "/etcdserverpb.Watch/Watch",
  encode({ prefix, from }) {
    const create = new MessageWriter()
      .bytes(1, keyBytes(prefix || "\0"))
      .bytes(2, endOf(prefix))
      .number(3, from);
    // The engine tells its progress now and then. Large revisions come in parts.
    return new MessageWriter().message(1, create.number(4, 1).number(8, 1)).finish();
  },
  decode(bytes) {
    const reader = new MessageReader(bytes);
    let state = NO_STATE;
    let [created, canceled, isFragment] = [false, false, false];
    let compactRevision = 0;
    let cancelReason = "";
    const events: EngineEvent[] = [];
    while (reader.next()) {
      switch (reader.field) {
        case 1:
          state = readHeader(reader.message());
          break;
        case 3:
          created = reader.boolean();
          break;
        case 4:
          canceled = reader.boolean();
          break;
        case 5:
          compactRevision = reader.number();
          break;
        case 6:
          cancelReason = reader.text();
          break;
        case 7:
          isFragment = reader.boolean();
          break;
        case 11:
          events.push(readEvent(reader.message()));
          break;
      }
    }
    return { state, created, canceled, compactRevision, cancelReason, isFragment, events };
  },
};

// Users

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** The answer is a token, for the metadata of the other calls. */
export const AUTHENTICATE: Method<Credentials, string> = {
  path: "/etcdserverpb.Auth/Authenticate",
  encode: ({ user, password }) => new MessageWriter().text(1, user).text(2, password).finish(),
  decode(bytes) {
    const reader = new MessageReader(bytes);
    let token = "";
    while (reader.next()) if (reader.field === 2) token = reader.text();
    return token;
  },
};

// What `ptalk doctor` asks

export interface MemberStatus {
  readonly cluster: string;
  readonly member: string;
  readonly version: string;
  /** Of its file, bytes. */
  readonly size: number;
  /** "0": it knows none. */
  readonly leader: string;
  readonly revision: Revision;
}

export const STATUS: Method<void, MemberStatus> = {
  path: "/etcdserverpb.Maintenance/Status",
  encode: () => Buffer.alloc(0),
  decode(bytes) {
    const reader = new MessageReader(bytes);
    let [cluster, member, version, leader] = ["0", "0", "", "0"];
    let [size, revision] = [0, 0];
    while (reader.next()) {
      switch (reader.field) {
        case 1: {
          const header = reader.message();
          while (header.next()) {
            if (header.field === 1) cluster = header.decimal();
            else if (header.field === 2) member = header.decimal();
            else if (header.field === 3) revision = header.number();
          }
          break;
        }
        case 2:
          version = reader.text();
          break;
        case 3:
          size = reader.number();
          break;
        case 4:
          leader = reader.decimal();
          break;
      }
    }
    return { cluster, member, version, size, leader, revision };
  },
};

export interface Alarm {
  readonly member: string;
  readonly alarm: "NOSPACE" | "CORRUPT" | "unknown";
}

const ALARMS = new Map<number, Alarm["alarm"]>([
  [1, "NOSPACE"],
  [2, "CORRUPT"],
]);

/** The alarms that are on. An empty request asks for all (action GET, alarm NONE). */
export const ALARM: Method<void, Alarm[]> = {
  path: "/etcdserverpb.Maintenance/Alarm",
  encode: STATUS.encode,
  decode(bytes) {
    const reader = new MessageReader(bytes);
    const alarms: Alarm[] = [];
    while (reader.next()) {
      if (reader.field !== 2) continue;
      const each = reader.message();
      let member = "0";
      let alarm = 0;
      while (each.next()) {
        if (each.field === 1) member = each.decimal();
        else if (each.field === 2) alarm = each.number();
      }
      alarms.push({ member, alarm: ALARMS.get(alarm) ?? "unknown" });
    }
    return alarms;
  },
};
