// The longest line that is allowed: no key takes more than time in proportion to it, and drawing takes what the screen holds.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { foldName } from "../../../lib/base/names.ts";
import { escapeControls } from "../../../lib/cli/escape-controls.ts";
import { Editor } from "../../../lib/cli/terminal/editor.ts";
import { LINE_LIMIT } from "../../../lib/cli/terminal/line.ts";
import { Screen } from "../../../lib/cli/terminal/screen.ts";

const SHORT = LINE_LIMIT / 4;
const WORDS = ["x", "ab c ", "é", "漢", "👨‍👩‍👧", "e\u0301", "🇩🇪", "\u0301", "\n", " ", "a,", "/", "\x1b"];
const KEYS = [
  ...[
    "left",
    "right",
    "home",
    "end",
    "ctrl-left",
    "ctrl-right",
    "backspace",
    "delete",
    "tab",
    "shift-tab",
    "ctrl-r",
    "ctrl-g",
    "ctrl-l",
  ],
  ...["ctrl-w", "ctrl-y", "alt-b", "alt-f", "alt-d", "ctrl-y", "ctrl-u", "ctrl-y", "home", "ctrl-k", "ctrl-y"],
  ...["enter", "up", "down", "up"],
];

/** An editor with its screen, as the terminal puts them together, and a line in it: one long word, and a short one. */
class Typist {
  readonly #editor = new Editor({
    commands: ["All"],
    names: () => ["alice", "bob"],
    slashCommands: ["to", "exit"],
    partners: () => ["bob"],
    prefix: () => "@",
    fold: foldName,
  });
  readonly #screen: Screen;
  readonly #status: string[];
  written = 0;

  constructor(unit: string, length: number) {
    const write = (text: string): void => {
      this.written += text.length;
    };
    this.#screen = new Screen({ columns: 80, rows: 24, write }, { prompt: (text) => text, status: (text) => text });
    const text = `bob ${unit.repeat((length - 6) / unit.length)} y`;
    this.#status = [`… → bob: ${text}`];
    this.#editor.press({ type: "paste", text, whole: true });
  }

  press(name: string): void {
    const { type } = this.#editor.press(name === "z" ? { type: "text", text: name } : { type: "key", name });
    if (type === "clear") this.#screen.repaint();
    const { text, cursor } = this.#editor;
    this.#screen.show({ status: this.#status, prompt: "> ", text, cursor });
  }
}

describe("the work of Intl.Segmenter", () => {
  /** Code units that it was given, once for each step and each look: a step costs as much as its text is long. */
  let work = 0;
  beforeEach(() => {
    const { prototype } = Intl.Segmenter;
    const segment = prototype.segment;
    vi.spyOn(prototype, "segment").mockImplementation(function (this: Intl.Segmenter, text: string) {
      const segments = segment.call(this, text);
      return {
        containing: (at?: number) => {
          work += text.length;
          return segments.containing(at);
        },
        *[Symbol.iterator]() {
          for (const each of segments) {
            work += text.length;
            yield each;
          }
        },
      } as Intl.Segments;
    });
  });
  afterEach(() => vi.restoreAllMocks());

  it.each(WORDS)("is in proportion to the line at most, for %j", (unit) => {
    const [short, long] = [new Typist(unit, SHORT), new Typist(unit, LINE_LIMIT)];
    for (const key of [...KEYS, "z"]) {
      const [inShort, inLong] = [short, long].map((typist) => {
        work = 0;
        typist.press(key);
        return work;
      }) as [number, number];
      // A screenful may be more in the long line, where the short one ends; a look at the whole line costs its length.
      expect({ key, inShort, inLong }).toSatisfy(() => inLong <= inShort + 8 * LINE_LIMIT);
      expect({ key, inLong }).toSatisfy(() => inLong < 80 * 24 * 2 * 128 + 8 * LINE_LIMIT);
    }
  });

  it("of a message is in proportion to its length", () => {
    const of = (length: number): number => {
      work = 0;
      escapeControls("e\u0301".repeat(length / 2));
      return work;
    };
    expect(of(64_000)).toBeLessThan(5 * of(16_000));
  });
});

describe("the time of the processor", () => {
  const LEAST_US = 1_000; // below, a ratio says more of the clock than of the program
  const TRIES = 5;

  /** Microseconds that a key takes at one end of a fresh line, the least of some tries. */
  const cost = (unit: string, length: number, where: "home" | "end", key: string): number => {
    const tries = Array.from({ length: TRIES }, () => {
      const typist = new Typist(unit, length);
      for (const before of ["ctrl-u", "ctrl-y", where]) typist.press(before);
      const before = process.cpuUsage();
      typist.press(key);
      const { user, system } = process.cpuUsage(before);
      return user + system;
    });
    return Math.max(LEAST_US, Math.min(...tries));
  };

  const MIXES = ["x", " ", "é", "e\u0301"].flatMap((unit) => [[unit, "home"] as const, [unit, "end"] as const]);
  it.each(MIXES)("grows no faster than the line, for %j at its %s", (unit, where) => {
    for (const key of new Set([...KEYS, "z"])) {
      const [inShort, inLong] = [SHORT, LINE_LIMIT].map((length) => cost(unit, length, where, key)) as [number, number];
      // Four times the line; a quadratic key takes sixteen times the time.
      expect({ key, inShort, inLong }).toSatisfy(() => inLong < 10 * inShort);
    }
  });
});

it("writes no more than the screen holds", () => {
  const typist = new Typist("x", LINE_LIMIT);
  for (const key of KEYS) {
    typist.written = 0;
    typist.press(key);
    expect({ key, written: typist.written }).toSatisfy(({ written }) => written < 2 * 80 * 24 + 500);
  }
});
