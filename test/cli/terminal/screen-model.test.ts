// The screen against a terminal emulator: whatever is typed and whatever arrives, in any order and at any width, nothing
// printed is lost or doubled, and the block at the bottom is there once.
import xterm from "@xterm/headless";
import fc from "fast-check";
import { expect, it } from "vitest";
import { layOut } from "../../../lib/cli/terminal/layout.ts";
import { Screen } from "../../../lib/cli/terminal/screen.ts";

const plain = { prompt: (text: string) => text, status: (text: string) => text };

class Emulator {
  readonly terminal;
  constructor(columns: number, rows: number) {
    this.terminal = new xterm.Terminal({ cols: columns, rows, scrollback: 2000, allowProposedApi: true });
  }
  get columns(): number {
    return this.terminal.cols;
  }
  get rows(): number {
    return this.terminal.rows;
  }
  write(text: string): void {
    this.terminal.write(text);
  }
  async lines(): Promise<string[]> {
    await new Promise<void>((resolve) => this.terminal.write("", resolve));
    const { active } = this.terminal.buffer;
    const rows = Array.from(
      { length: active.length },
      (_, y) => active.getLine(y)?.translateToString(true).trimEnd() ?? "",
    );
    while (rows.at(-1) === "") rows.pop();
    return rows;
  }
}

// Of what the emulator and we agree on: it knows no clusters of emoji. (Those are in screen.test.ts.)
const text = fc
  .array(fc.constantFrom("a", "bc ", "漢", "é", "x".repeat(17), "字字字"), { maxLength: 12 })
  .map((parts) => parts.join(""));
const step = fc.oneof(
  fc.record({ does: fc.constant("print" as const), text }),
  fc.record({ does: fc.constant("type" as const), text, cursor: fc.nat(), status: fc.array(text, { maxLength: 3 }) }),
);

it("loses and doubles nothing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 10, max: 40 }), fc.array(step, { maxLength: 25 }), async (columns, steps) => {
      const emulator = new Emulator(columns, 24);
      const screen = new Screen(emulator, plain);
      let block = { status: [] as string[], prompt: "> ", text: "", cursor: 0 };
      screen.show(block);
      const printed: string[] = [];
      for (const [i, s] of steps.entries()) {
        if (s.does === "print") {
          const line = `#${i}:${s.text}`;
          printed.push(line);
          screen.print([line]);
        } else {
          block = {
            ...block,
            text: s.text,
            status: s.status.map((t, n) => `~${n}${t}`),
            cursor: s.cursor % (s.text.length + 1),
          };
          screen.show(block);
        }
      }
      const rows = await emulator.lines();
      const { rows: blockRows, cursorColumn } = layOut(block.prompt, block.text, block.cursor, columns, 24);
      const blockText = blockRows
        .map((row) => row.trimEnd())
        .filter((row, n) => n < blockRows.length - 1 || row !== "");
      expect(rows.slice(rows.length - blockText.length)).toEqual(blockText);
      const above = rows.slice(0, rows.length - blockText.length - block.status.length).join("");
      // Where a wide character did not fit, the terminal left a column empty: compared without blanks.
      expect(above.replaceAll(" ", "")).toBe(printed.join("").replaceAll(" ", ""));
      expect(emulator.terminal.buffer.active.cursorX).toBe(cursorColumn);
      emulator.terminal.dispose();
    }),
    { numRuns: 150 },
  );
});

it("shows the part around the cursor of a line that is taller than the terminal, and comes back from it", async () => {
  const emulator = new Emulator(20, 6);
  const screen = new Screen(emulator, plain);
  screen.print(["before"]);
  const long = "0123456789".repeat(40);
  for (const cursor of [long.length, 0, 200, long.length])
    screen.show({ status: [], prompt: "> ", text: long, cursor });
  screen.print(["while"]);
  screen.show({ status: [], prompt: "> ", text: "short", cursor: 5 });
  const rows = await emulator.lines();
  expect(rows.filter((row) => row === "before" || row === "while")).toEqual(["before", "while"]);
  expect(rows.at(-1)).toBe("> short");
});
