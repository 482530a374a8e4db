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

  describe("whose paste has no end", () => {
    const begun = (text: string): KeyDecoder => {
      const decoder = new KeyDecoder();
      expect(decoder.feed(Buffer.from(`${ESC}[200~${text}`))).toEqual([]);
      return decoder;
    };
    const part = (text: string): Key => ({ type: "paste", text, whole: false });
    const type = (decoder: KeyDecoder, key: string) => names(decoder.feed(Buffer.from(key), true));

    it("asks to be told when nothing more comes, and gives what there is, as text", () => {
      const decoder = begun("bob hello\r\nEnter\rx");
      expect(decoder.patienceMs).toBeGreaterThan(100);
      expect(decoder.flush()).toEqual([part("bob hello\nEnter\nx")]);
      expect(decoder.patienceMs).toBeUndefined();
      expect(type(decoder, "\x03")).toEqual(["ctrl-c"]);
    });

    it.each(["\x03", "\x04"])("ends it at %j, which does nothing else", (key) => {
      const decoder = begun("bob hello");
      expect(decoder.feed(Buffer.from(key), true)).toEqual([part("bob hello")]);
      expect(type(decoder, key)).toEqual([key === "\x03" ? "ctrl-c" : "ctrl-d"]);
    });

    it("takes Ctrl-C in the middle of it for a part of it", () => {
      const decoder = begun("bob ");
      expect(decoder.feed(Buffer.from("\x03"))).toEqual([]);
      expect(decoder.feed(Buffer.from("x\x04y"), true)).toEqual([]);
      expect(names(decoder.feed(Buffer.from(`${ESC}[201~`)))).toEqual(["paste:bob \x03x\x04y"]);
    });

    it.each([
      ["", ""],
      ["bob 1", "bob 1"],
      [`bob${ESC}[20`, "bob"],
      [`bob${ESC}`, "bob"],
      [`bob${ESC}[A`, `bob${ESC}[A`],
      [`bob${ESC}[2${ESC}[2`, `bob${ESC}[2`],
    ])("loses nothing but a part of the end: %j", (text, kept) => {
      expect(begun(text).flush()).toEqual([part(kept)]);
    });

    it("enters nothing of a rest that comes later", () => {
      const decoder = begun("bob one\n");
      decoder.flush();
      expect(names(decoder.feed(Buffer.from("two\nalice three\r"), true))).toEqual([]);
      expect(names(decoder.feed(Buffer.from(`four\n${ESC}[201~x\r`)))).toEqual([
        "paste:two\nalice three\nfour\n",
        "text:x",
        "enter",
      ]);
    });

    it("enters nothing of a rest that comes byte by byte", () => {
      const decoder = begun("bob one");
      decoder.flush();
      expect(names([..."\ntwo\n"].flatMap((byte, i) => decoder.feed(Buffer.from(byte), i === 1)))).not.toContain(
        "enter",
      );
      expect(names(decoder.flush()).join("")).toContain("two\n");
    });

    it("is over with an Enter that somebody presses, and with an end that comes late", () => {
      const pressed = begun("bob one");
      pressed.flush();
      expect(type(pressed, "\r")).toEqual(["enter"]);
      expect(type(pressed, "bob two\r")).toEqual(["text:bob two", "enter"]);
      const late = begun("bob one");
      late.flush();
      expect(type(late, `${ESC}[201~`)).toEqual([]);
      expect(type(late, "bob two\r")).toEqual(["text:bob two", "enter"]);
    });

    it("may be followed by a whole one", () => {
      const decoder = begun("bob one");
      decoder.flush();
      expect(decoder.feed(Buffer.from(`${ESC}[200~a\nb${ESC}[201~`))).toEqual([
        { type: "paste", text: "a\nb", whole: true },
      ]);
    });
  });

  it("never gives control characters as text, never stops, for any bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), (pieces) => {
        const decoder = new KeyDecoder();
        const keys = [...pieces.flatMap((p, i) => decoder.feed(p, i % 2 === 0)), ...decoder.flush()];
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
