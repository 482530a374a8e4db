// What keys do to the line beyond editing: Tab, Ctrl-R, Ctrl-C, pastes. No terminal.
import { describe, expect, it } from "vitest";
import { foldName } from "../../../lib/base/names.ts";
import { Editor } from "../../../lib/cli/terminal/editor.ts";

function editor({ hasPartner = false } = {}): Editor {
  return new Editor({
    commands: ["All", "Exit"],
    slashCommands: ["to", "list", "exit"],
    names: () => ["carol", "Bob", "alice", "bobby"],
    partners: () => ["carol", "bobby"],
    prefix: () => (hasPartner ? "@" : ""),
    fold: foldName,
  });
}

const press = (one: Editor, ...names: string[]) => names.map((name) => one.press({ type: "key", name }).type).at(-1);
const type = (one: Editor, text: string) => one.press({ type: "text", text });
const paste = (one: Editor, text: string) => one.press({ type: "paste", text, whole: true });
function enter(one: Editor, ...lines: string[]): void {
  for (const line of lines) {
    type(one, line);
    press(one, "enter");
  }
}

describe("Tab", () => {
  it("goes through partners, then names, and around; shift-Tab back", () => {
    const one = editor();
    const seen: string[] = [];
    for (let i = 0; i < 5; i++) {
      press(one, "tab");
      seen.push(one.text);
    }
    expect(seen).toEqual(["carol ", "bobby ", "Bob ", "alice ", "carol "]);
    press(one, "shift-tab");
    expect(one.text).toBe("alice ");
    type(one, "hi");
    expect(press(one, "tab")).toBe("bell");
    expect(one.text).toBe("alice hi");
  });

  it("asks for names that it does not know, once, and completes what the answer allows", async () => {
    const known = new Set(["bob"]);
    const asked: string[] = [];
    const one = new Editor({
      commands: ["All"],
      slashCommands: ["to"],
      names: () => known,
      ask: (beginning) => {
        if (asked.includes(beginning)) return null;
        asked.push(beginning);
        return Promise.resolve().then(() => {
          for (const name of ["dana", "danb"]) if (name.startsWith(beginning)) known.add(name);
        });
      },
      isPartial: (beginning) => beginning === "d",
      partners: () => [],
      prefix: () => "",
      fold: foldName,
    });
    const tab = async (): Promise<string> => {
      const intention = one.press({ type: "key", name: "tab" });
      if (intention.type === "ask") await intention.answer;
      return intention.type;
    };
    type(one, "d");
    expect(await tab()).toBe("ask");
    expect(one.text).toBe("d"); // nothing has changed yet
    // There are more with a "d" than it was told of: "dan" would be too much.
    expect([await tab(), one.text]).toEqual(["choices", "d"]);
    type(one, "a");
    expect([await tab(), await tab(), one.text]).toEqual(["ask", "redraw", "dan"]);
    expect(asked).toEqual(["d", "da"]);
    press(one, "ctrl-u");
    type(one, "/t");
    expect([await tab(), one.text]).toEqual(["redraw", "/to "]); // no name can stand there
  });

  it("with a partner makes one message for another of it: a name alone would be text", () => {
    const one = editor({ hasPartner: true });
    press(one, "tab", "tab");
    expect(one.text).toBe("@bobby ");
  });

  it.each([
    ["@", "@carol "],
    ["/to ", "/to carol "],
    ["/ignore ", "/ignore carol "],
    ["@al", "@alice "],
    ["/msg al", "/msg alice "],
    ["/l", "/list "],
    ["al,", "al,"],
  ])("%j becomes %j", (before, after) => {
    const one = editor();
    type(one, before);
    press(one, "tab");
    expect(one.text).toBe(after);
  });

  it("shows what it could be, then goes through that", () => {
    const one = editor();
    type(one, "b");
    expect(press(one, "tab")).toBe("redraw");
    expect(one.text).toBe("bob");
    expect(press(one, "tab")).toBe("choices");
    press(one, "tab");
    expect(one.text).toBe("bobby ");
    press(one, "tab");
    expect(one.text).toBe("Bob ");
  });
});

describe("Ctrl-R", () => {
  it("finds the latest line that holds the text, and the ones before it", () => {
    const one = editor();
    enter(one, "bob first", "carol other", "bob second");
    type(one, "half");
    press(one, "ctrl-r");
    expect([one.text, one.searchPrompt]).toEqual(["half", 'no line with "": ']);
    type(one, "bob");
    expect([one.text, one.searchPrompt]).toEqual(["bob second", 'search "bob": ']);
    press(one, "ctrl-r");
    expect(one.text).toBe("bob first");
    expect(press(one, "ctrl-r")).toBe("bell");
    expect(one.text).toBe("bob first");
  });

  it("Enter takes the line and sends nothing: the prompt named no recipient", () => {
    const one = editor();
    enter(one, "bob first");
    press(one, "ctrl-r");
    type(one, "fir");
    expect(press(one, "enter")).toBe("redraw");
    expect([one.text, one.searchPrompt]).toEqual(["bob first", undefined]);
    expect(one.press({ type: "key", name: "enter" })).toEqual({ type: "submit", line: "bob first" });
  });

  it.each(["ctrl-c", "ctrl-g"])("%s restores the typed line", (key) => {
    const one = editor();
    enter(one, "bob first");
    type(one, "half");
    press(one, "ctrl-r");
    type(one, "first");
    expect(press(one, key)).toBe("redraw");
    expect([one.text, one.cursor]).toEqual(["half", 4]);
  });

  it("goes back as the text gets shorter, and other keys edit the found line", () => {
    const one = editor();
    enter(one, "bob first", "bob second");
    press(one, "ctrl-r");
    type(one, "first");
    press(one, "backspace", "backspace", "backspace", "backspace", "backspace");
    expect(one.text).toBe("");
    type(one, "nowhere");
    expect(one.searchPrompt).toBe('no line with "nowhere": ');
    press(one, "ctrl-g", "ctrl-r");
    type(one, "sec");
    press(one, "end");
    type(one, "!");
    expect(one.text).toBe("bob second!");
  });
});

describe("Ctrl-C", () => {
  it("clears a half-typed line, which Ctrl-Y brings back", () => {
    const one = editor();
    type(one, "half");
    expect(one.press({ type: "key", name: "ctrl-c" })).toEqual({ type: "interrupt", cleared: true });
    expect(one.text).toBe("");
    expect(one.press({ type: "key", name: "ctrl-c" })).toEqual({ type: "interrupt", cleared: false });
    press(one, "ctrl-y");
    expect(one.text).toBe("half");
  });
});

describe("a paste", () => {
  it("has no empty line at its end", () => {
    const one = editor();
    paste(one, "bob one\ntwo\n");
    expect(one.press({ type: "key", name: "enter" })).toEqual({ type: "submit", line: "bob one\ntwo" });
    paste(one, "\n");
    expect(one.text).toBe("");
  });
});
