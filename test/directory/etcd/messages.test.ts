// etcd's messages, against the .proto files beside the code: what is sent has their fields, and what they say is read.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  ALARM,
  AUTHENTICATE,
  LEASE_GRANT,
  LEASE_KEEP_ALIVE,
  LEASE_REVOKE,
  RANGE,
  STATUS,
  TXN,
  WATCH,
} from "../../../lib/directory/etcd/messages.ts";
import { MessageReader, MessageWriter, ProtobufError } from "../../../lib/directory/etcd/protobuf.ts";

interface Field {
  readonly name: string;
  readonly type: string;
  readonly number: number;
  readonly isRepeated: boolean;
}
/** A message as plain data: numbers of 64 bits as digits, bytes as text. */
type Plain = { readonly [name: string]: Value };
type Value = string | boolean | Plain | readonly Value[];

const messages = new Map<string, readonly Field[]>();
/** Numbers of an enum's words. */
const enums = new Map<string, ReadonlyMap<string, number>>();
/** "/package.Service/Call": request and response. */
const calls = new Map<string, readonly [string, string]>();
for (const file of ["kv", "rpc"]) {
  const path = new URL(`../../../lib/directory/etcd/${file}.proto`, import.meta.url);
  readProto(readFileSync(path, "utf8").replace(/\/\/.*|\/\*[\s\S]*?\*\//g, ""));
}

function readProto(source: string): void {
  const spoken = /package (\w+);/.exec(source)?.[1];
  for (const [, name = "", body = ""] of source.matchAll(/^service (\w+) \{([\s\S]*?)^\}/gm)) {
    for (const [, call, request = "", response = ""] of body.matchAll(
      /rpc (\w+)\s*\((?:stream )?(\w+)\) returns \((?:stream )?(\w+)\)/g,
    ))
      calls.set(`/${spoken}.${name}/${call}`, [request, response]);
  }
  for (const [, name = "", body = ""] of source.matchAll(/enum (\w+) \{([^}]*)\}/g)) {
    const words = [...body.matchAll(/(\w+) = (\d+)/g)].map(([, word = "", number]) => [word, Number(number)] as const);
    enums.set(name, new Map(words));
  }
  for (const [, name = "", body = ""] of source.matchAll(/^message (\w+) \{([\s\S]*?)^\}/gm)) {
    const plain = body.replace(/enum \w+ \{[^}]*\}/g, "");
    const fields = [...plain.matchAll(/(repeated )?([\w.]+) (\w+) = (\d+)/g)];
    messages.set(
      name,
      fields.map(([, repeated, type = "", field = "", number]) => ({
        ...{ name: field, type: type.replace(/^.*\./, ""), number: Number(number), isRepeated: repeated !== undefined },
      })),
    );
  }
}

function fieldsOf(type: string): readonly Field[] {
  const fields = messages.get(type);
  if (fields === undefined) throw new Error(`no message ${type} in the .proto files`);
  return fields;
}

/** Reads a message by the .proto file alone. A field that is not there is an error. */
function read(type: string, reader: MessageReader): Plain {
  const plain: Record<string, Value> = {};
  while (reader.next()) {
    const field = fieldsOf(type).find(({ number }) => number === reader.field);
    if (field === undefined) throw new Error(`${type} has no field ${reader.field}`);
    const value = readValue(field.type, reader);
    plain[field.name] = field.isRepeated ? [...((plain[field.name] ?? []) as readonly Value[]), value] : value;
  }
  return plain;
}

function readValue(type: string, reader: MessageReader): Value {
  if (type === "bytes" || type === "string") return reader.text();
  if (type === "bool") return reader.boolean();
  if (type === "int64" || type === "uint64") return reader.decimal();
  const words = enums.get(type);
  if (words === undefined) return read(type, reader.message());
  const number = reader.number();
  return [...words].find(([, each]) => each === number)?.[0] ?? `no word of ${type}: ${number}`;
}

function write(type: string, plain: Plain): MessageWriter {
  const writer = new MessageWriter();
  for (const [name, value] of Object.entries(plain)) {
    const field = fieldsOf(type).find((each) => each.name === name);
    if (field === undefined) throw new Error(`${type} has no field ${name}`);
    for (const one of Array.isArray(value) ? value : [value]) writeValue(writer, field, one as Value);
  }
  return writer;
}

function writeValue(writer: MessageWriter, { type, number }: Field, value: Value): void {
  if (typeof value === "object") writer.message(number, write(type, value as Plain));
  else if (type === "bytes" || type === "string") writer.text(number, String(value));
  else if (typeof value === "boolean") writer.number(number, value ? 1 : 0);
  else writer.decimal(number, enums.has(type) ? String(enums.get(type)?.get(value)) : value);
}

/** Of the call with that path. */
const sent = <R>({ path, encode }: { path: string; encode: (request: R) => Buffer }, request: R): Plain =>
  read(calls.get(path)?.[0] ?? path, new MessageReader(encode(request)));
const heard = <R>({ path, decode }: { path: string; decode: (bytes: Buffer) => R }, response: Plain): R =>
  decode(write(calls.get(path)?.[1] ?? path, response).finish());

/** Beyond what a double holds. */
const CLUSTER = "13822719690347888277";
const LEASE = "9223372036854775807";
const header = { cluster_id: CLUSTER, member_id: "2732205485116930627", revision: "77", raft_term: "3" };
const state = { cluster: CLUSTER, revision: 77 };
const stored = { key: "/p/é", create_revision: "5", mod_revision: "70", version: "2", value: "text", lease: LEASE };
const found = { key: "/p/é", createRevision: 5, modRevision: 70, value: Buffer.from("text"), lease: LEASE };

describe("what is sent", () => {
  it("a transaction", () => {
    const transaction = {
      when: [
        { key: "/a", what: "mod", is: "=", revision: 7 },
        { key: "/b", what: "create", is: ">", revision: 2 ** 40 },
        { key: "/c", what: "value", is: "=", value: Buffer.from("v") },
      ],
      then: [
        { put: "/d", value: Buffer.from("w"), lease: LEASE },
        { delete: "/e" },
        { transaction: { when: [], then: [{ get: "/f" }], otherwise: [] } },
      ],
      otherwise: [{ get: "/g" }],
    } as const;
    // What proto3 leaves out is the first word of an enum, EQUAL.
    expect(sent(TXN, transaction)).toEqual({
      compare: [
        { target: "MOD", key: "/a", mod_revision: "7" },
        { result: "GREATER", target: "CREATE", key: "/b", create_revision: String(2 ** 40) },
        { target: "VALUE", key: "/c", value: "v" },
      ],
      success: [
        { request_put: { key: "/d", value: "w", lease: LEASE } },
        { request_delete_range: { key: "/e" } },
        { request_txn: { success: [{ request_range: { key: "/f" } }] } },
      ],
      failure: [{ request_range: { key: "/g" } }],
    });
  });

  it("a list, a watch, a lease, a user", () => {
    expect(sent(RANGE, { prefix: "/p/", after: "", limit: 9, revision: 5 })).toEqual({
      ...{ key: "/p/", range_end: "/p0", limit: "9", revision: "5" },
    });
    expect(sent(RANGE, { prefix: "/p/", after: "/p/x", limit: 9, revision: 0 })).toMatchObject({ key: "/p/x\0" });
    expect(sent(WATCH, { prefix: "/p/", from: 78 })).toEqual({
      create_request: { key: "/p/", range_end: "/p0", start_revision: "78", progress_notify: true, fragment: true },
    });
    expect(sent(LEASE_GRANT, 10)).toEqual({ TTL: "10" });
    expect(sent(LEASE_REVOKE, LEASE)).toEqual({ ID: LEASE });
    expect(sent(LEASE_KEEP_ALIVE, LEASE)).toEqual({ ID: LEASE });
    expect(sent(AUTHENTICATE, { user: "u", password: "p" })).toEqual({ name: "u", password: "p" });
    expect([sent(STATUS, undefined), sent(ALARM, undefined)]).toEqual([{}, {}]);
  });
});

describe("what is read", () => {
  it("the answer to a transaction, nested, with values", () => {
    const response = {
      header,
      succeeded: true,
      responses: [
        { response_put: { header } },
        { response_delete_range: { header, deleted: "1" } },
        { response_txn: { responses: [{ response_range: { kvs: [stored], count: "1" } }] } },
      ],
    };
    expect(heard(TXN, response)).toEqual({
      ...state,
      succeeded: true,
      results: [
        { kind: "put" },
        { kind: "delete", deleted: true },
        { kind: "transaction", succeeded: false, results: [{ kind: "get", value: found }] },
      ],
    });
  });

  it("a page, a lease, a token, a member", () => {
    expect(heard(RANGE, { header, kvs: [stored], more: true, count: "8" })).toEqual({
      ...{ ...state, values: [found], more: true },
    });
    expect(heard(LEASE_GRANT, { header, ID: LEASE, TTL: "10" })).toBe(LEASE);
    expect(heard(LEASE_KEEP_ALIVE, { header, ID: LEASE, TTL: "9" })).toBe(9);
    expect(heard(LEASE_KEEP_ALIVE, { header, ID: LEASE })).toBe(0);
    expect(heard(AUTHENTICATE, { header, token: "t" })).toBe("t");
    const status = { header, version: "3.4.23", dbSize: "25000", leader: "2732205485116930627" };
    expect(heard(STATUS, status)).toEqual({
      ...{ ...state, member: header.member_id, version: "3.4.23", size: 25_000, leader: status.leader },
    });
    const alarms = [
      { memberID: header.member_id, alarm: "NOSPACE" },
      { memberID: "5", alarm: "CORRUPT" },
    ];
    expect(heard(ALARM, { header, alarms })).toEqual([
      { member: header.member_id, alarm: "NOSPACE" },
      { member: "5", alarm: "CORRUPT" },
    ]);
  });

  it("a watch: its beginning, changes in parts, its end", () => {
    const nothing = { state, created: false, canceled: false, compactRevision: 0, cancelReason: "", isFragment: false };
    expect(heard(WATCH, { header, created: true })).toEqual({ ...nothing, created: true, events: [] });
    const events = [{ kv: stored }, { type: "DELETE", kv: { key: "/p/gone", mod_revision: "71" } }];
    expect(heard(WATCH, { header, fragment: true, events })).toEqual({
      ...{ ...nothing, isFragment: true },
      events: [
        { put: found, revision: 70 },
        { delete: "/p/gone", revision: 71 },
      ],
    });
    const end = { header, canceled: true, compact_revision: "60", cancel_reason: "why" };
    expect(heard(WATCH, end)).toEqual({
      ...{ ...nothing, canceled: true, compactRevision: 60, cancelReason: "why", events: [] },
    });
  });

  it("no answer that is cut short, or not one: refused, or as far as its fields go", () => {
    const whole = write("TxnResponse", { header, succeeded: true, responses: [{ response_put: { header } }] }).finish();
    for (let length = 0; length < whole.length; length++) {
      try {
        TXN.decode(whole.subarray(0, length));
      } catch (error) {
        expect(error).toBeInstanceOf(ProtobufError);
      }
    }
    expect(() => TXN.decode(Buffer.from([0x0a, 0x7f]))).toThrow(ProtobufError);
    expect(() => TXN.decode(Buffer.from([0x0b]))).toThrow(ProtobufError);
    const long = (bytes: number) => Buffer.from([0x78, ...Array.from({ length: bytes - 1 }, () => 0xff), 1]);
    expect(() => TXN.decode(long(10))).not.toThrow();
    expect(() => TXN.decode(long(11))).toThrow(/longer than 64 bits/);
  });
});
