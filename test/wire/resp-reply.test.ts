import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ProtocolError } from "../../lib/wire/protocol-error.ts";
import { MAX_REPLY_DEPTH, MAX_REPLY_LINE_BYTES } from "../../lib/wire/resp-limits.ts";
import { ReplyDecoder, ReplyError, type RespReply } from "../../lib/wire/resp-reply.ts";

function decode(chunks: readonly Uint8Array[]): RespReply[] {
  const decoder = new ReplyDecoder();
  const replies: RespReply[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let reply = decoder.next(); reply !== undefined; reply = decoder.next()) replies.push(reply);
  }
  return replies;
}

const values = (text: string) => decode([Buffer.from(text)]).map((reply) => reply.value);

describe("replies", () => {
  it("reads every type of RESP2 and RESP3", () => {
    expect(
      values(
        "+OK\r\n:42\r\n:-7\r\n$3\r\nb\u00e9\r\n$-1\r\n*-1\r\n_\r\n#t\r\n#f\r\n,1.5\r\n,inf\r\n(12345678901234567890\r\n",
      ),
    ).toEqual(["OK", 42, -7, "b\u00e9", null, null, null, true, false, 1.5, Infinity, 12345678901234567890n]);
    expect(values("*2\r\n*1\r\n:1\r\n*0\r\n~1\r\n+a\r\n=6\r\ntxt:hi\r\n")).toEqual([[[1], []], ["a"], "hi"]);
    expect(values("%2\r\n+a\r\n:1\r\n$1\r\nb\r\n%0\r\n")).toEqual([
      new Map<string, unknown>([
        ["a", 1],
        ["b", new Map()],
      ]),
    ]);
  });

  it("tells errors apart from strings, by their code word", () => {
    const [error] = values("-TAKEN the name is taken\r\n");
    expect(error).toBeInstanceOf(ReplyError);
    expect(error).toMatchObject({ code: "TAKEN", message: "the name is taken" });
    expect(values("!7\r\nERR bad\r\n")[0]).toMatchObject({ code: "ERR", message: "bad" });
  });

  it("tells pushes apart from replies", () => {
    expect(decode([Buffer.from(">2\r\n+left\r\n+bob\r\n+PONG\r\n")])).toEqual([
      { push: true, value: ["left", "bob"] },
      { push: false, value: "PONG" },
    ]);
  });

  it("reads the same at every cut, in two and byte by byte", () => {
    const bytes = Buffer.from("*2\r\n%1\r\n+name\r\n$4\r\nb\u00f8b\r\n_\r\n>1\r\n+closing\r\n-ERR x y\r\n:1\r\n");
    const whole = decode([bytes]);
    expect(whole).toHaveLength(4);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(decode([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(whole);
    }
    expect(decode([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  });

  it.each([
    "hello\r\n",
    "$x\r\n",
    "$-2\r\n",
    "$9999999\r\n",
    "*99999999\r\n",
    ":\r\n",
    ":1.5\r\n",
    "#x\r\n",
    ",\r\n",
    "(1x\r\n",
    "+OK\n",
    "$1\r\nab\r\n",
    "\r\n",
    ">0\r\n",
    "%-1\r\n",
    "*1\r\n>1\r\n",
    "*1\r\n".repeat(MAX_REPLY_DEPTH + 1),
    "x".repeat(MAX_REPLY_LINE_BYTES + 1),
  ])("refuses %j", (text) => expect(() => values(text)).toThrow(ProtocolError));

  it("takes a string, a line, elements and a depth at their limits, and none beyond", () => {
    const string = (bytes: number) => `$${bytes}\r\n${"x".repeat(bytes)}\r\n`;
    expect(values(string(2 ** 20))).toEqual(["x".repeat(2 ** 20)]);
    expect(() => values(string(2 ** 20 + 1))).toThrow(/too long a string/);
    expect(values(`+${"x".repeat(4094)}\r\n`)).toEqual(["x".repeat(4094)]);
    expect(() => values(`+${"x".repeat(4095)}\r\n`)).toThrow(/too long a line/);
    expect(values(`*${2 ** 21}\r\n`)).toEqual([]); // it waits for them
    expect(() => values(`*${2 ** 21 + 1}\r\n`)).toThrow(/too many elements/);
    expect(values(`${"*1\r\n".repeat(16)}:1\r\n`)).toHaveLength(1);
    expect(() => values(`${"*1\r\n".repeat(17)}:1\r\n`)).toThrow(/nested too deep/);
  });

  it("survives whatever arrives", () => {
    const token = fc.constantFrom(
      "*2\r\n",
      ">1\r\n",
      "%1\r\n",
      "$3\r\n",
      "abc",
      "\r\n",
      ":5\r\n",
      "+x\r\n",
      "-E x\r\n",
      "_\r\n",
    );
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      token.map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 50 }), (chunks) => {
        try {
          decode(chunks);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
