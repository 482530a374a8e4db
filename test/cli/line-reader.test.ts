import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { TalkError } from "../../lib/base/errors.ts";
import { LINE_BYTES_LIMIT, LineSplitter, readLines } from "../../lib/cli/line-reader.ts";
import { readText } from "../../lib/cli/stdin-text.ts";

const codes = (lines: Iterable<string | TalkError>): string[] =>
  Array.from(lines, (l) => (l instanceof TalkError ? `<${l.code}>` : l));
function split(...chunks: (string | Uint8Array)[]): string[] {
  const splitter = new LineSplitter();
  return codes([...chunks.flatMap((chunk) => [...splitter.feed(Buffer.from(chunk))]), ...splitter.end()]);
}

describe("lines of a pipe", () => {
  it("end with LF or CR LF, the last one also with nothing", () => {
    expect(split("a\nb\r\n\nc\rd\n\r\nlast")).toEqual(["a", "b", "", "c\rd", "", "last"]);
    expect(split("")).toEqual([]);
  });

  it("are the same however the bytes come", () => {
    const bytes = Buffer.from("bob 漢字\r\nalice 👨‍👩‍👧\n\nx");
    for (let cut = 0; cut <= bytes.length; cut++)
      expect(split(bytes.subarray(0, cut), bytes.subarray(cut))).toEqual(split(bytes));
    expect(split(...Array.from(bytes, (b) => Buffer.of(b)))).toEqual(split(bytes));
  });

  it("that are not UTF-8 or too long are errors in their place, and reading goes on", () => {
    expect(split(Buffer.of(0xff, 0x0a), "ok\n")).toEqual(["<bad-data>", "ok"]);
    const long = "x".repeat(LINE_BYTES_LIMIT);
    expect(split(`${long}\r\n`, `${long}y\n`, "ok\n").map((l) => l.slice(0, 10))).toEqual([
      "xxxxxxxxxx",
      "<too-long>",
      "ok",
    ]);
  });

  it("without an end do not fill the memory", () => {
    const splitter = new LineSplitter();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 20_000; i++)
      for (const _ of splitter.feed(Buffer.alloc(65_536, 120))) throw new Error("no line ends");
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(512 * 1024 * 1024);
    expect(codes(splitter.end())).toEqual(["<too-long>"]);
  });

  it("come from any stream", async () => {
    const lines: string[] = [];
    for await (const line of readLines(Readable.from([Buffer.from("a\nb"), Buffer.from("c")])))
      lines.push(...codes([line]));
    expect(lines).toEqual(["a", "bc"]);
  });
});

describe("the whole of stdin", () => {
  const read = (...chunks: string[]) => readText(Readable.from(chunks.map((c) => Buffer.from(c))));
  it("loses its last newline only", async () => {
    expect(await read("a\n", "b\n\n")).toBe("a\nb\n");
    expect(await read("a\r\n")).toBe("a");
  });
  it("is bounded", async () => {
    expect(await read("x".repeat(65_536), "\n")).toHaveLength(65_536);
    await expect(read("é".repeat(40_000))).rejects.toMatchObject({ code: "too-long" });
  });
});
