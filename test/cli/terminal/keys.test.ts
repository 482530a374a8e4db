import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Key, KeyDecoder } from "../../../lib/cli/terminal/keys.ts";

const ESC = "\x1b";
function decode(...pieces: string[]): string[] {
  const decoder = new KeyDecoder();
  return names([...pieces.flatMap((p) => decoder.feed(Buffer.from(p))), ...decoder.flush()]);
}
function names(keys: Key[]): string[] {
  return keys.map((k) => (k.type === "key" ? k.name : `${k.type}:${k.text}`));
}

describe("KeyDecoder", () => {
  it.each<[string, string[]]>([
    ["hé漢", ["text:hé漢"]],
    ["\r\n\t\x7f\b", ["enter", "enter", "tab", "backspace", "backspace"]],
    ["\x01\x03\x04\x1a", ["ctrl-a", "ctrl-c", "ctrl-d", "ctrl-z"]],
    [`${ESC}[A${ESC}OB${ESC}[1;5C${ESC}[1;3D`, ["up", "down", "ctrl-right", "alt-left"]],
    [`${ESC}[3~${ESC}[1~${ESC}[4~${ESC}[H${ESC}OF${ESC}[Z`, ["delete", "home", "end", "home", "end", "shift-tab"]],
    [`${ESC}b${ESC}\x7f${ESC}é`, ["alt-b", "alt-backspace", "alt-é"]],
    [ESC, ["escape"]],
    [`${ESC}[24;80R${ESC}[?1;2c${ESC}[15~${ESC}[[Ax`, ["text:x"]],
    [`${ESC}[200~a\r\nb${ESC}[A\x03${ESC}[201~c`, [`paste:a\nb${ESC}[A\x03`, "text:c"]],
    [`${ESC}[12;`, []],
  ])("reads %j", (bytes, keys) => {
    expect(decode(bytes)).toEqual(keys);
  });

  it("reads the same however the bytes are cut", () => {
    const bytes = Buffer.from(`a漢👨‍👩‍👧${ESC}[A${ESC}[1;5C\x03${ESC}[200~x\ny${ESC}[2${ESC}[201~z${ESC}OH${ESC}b`);
    const whole = joined(decode(bytes.toString()));
    for (let cut = 1; cut < bytes.length; cut++) {
      const decoder = new KeyDecoder();
      const keys = [...decoder.feed(bytes.subarray(0, cut)), ...decoder.feed(bytes.subarray(cut)), ...decoder.flush()];
      expect(joined(names(keys))).toEqual(whole);
    }
    const decoder = new KeyDecoder();
    expect(joined(names([...[...bytes].flatMap((b) => decoder.feed(Buffer.of(b))), ...decoder.flush()]))).toEqual(
      whole,
    );
  });

  it("never gives control characters as text, never stops, for any bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), (pieces) => {
        const decoder = new KeyDecoder();
        const keys = [...pieces.flatMap((p) => decoder.feed(p)), ...decoder.flush()];
        for (const key of keys) if (key.type === "text") expect(key.text).not.toMatch(/\p{Cc}/u);
      }),
      { numRuns: 1000 },
    );
  });

  it("bounds what it keeps of an endless sequence", () => {
    const decoder = new KeyDecoder();
    decoder.feed(Buffer.from(`${ESC}[${"1;".repeat(5000)}`));
    expect(names(decoder.feed(Buffer.from("Ax"))).at(-1)).toMatch(/x$/);
  });
});

// Text may come in more than one piece.
function joined(keys: string[]): string {
  return keys
    .join("|")
    .replaceAll("|text:", "")
    .replace(/^text:/, "");
}
