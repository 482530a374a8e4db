// The talk screen in a real pseudo-terminal: what a person sees, asserted on the screen of a terminal emulator.
import { afterEach, describe, expect, it } from "vitest";
import { whyNoHosts } from "../../helpers/host.ts";
import { TalkScreen } from "../../helpers/talk-screen.ts";

const ESC = "\x1b";
let screen: TalkScreen;
afterEach(() => screen?.[Symbol.dispose]());
const open = async (options: Parameters<typeof TalkScreen.open>[0] = {}): Promise<TalkScreen> => {
  screen = await TalkScreen.open(options);
  await screen.shows("you are me");
  return screen;
};
const content = (): string[] => screen.lines().filter((line) => !line.startsWith("* you are me"));

describe("an incoming message", () => {
  it("stands above the prompt, and the half-typed line stays with its cursor", async () => {
    await open();
    screen.type(`bob half typed${ESC}[D${ESC}[D`);
    await screen.shows("> bob half typed");
    await screen.message("alice", "hello there");
    await screen.until(() => content().join("|") === "alice: hello there|> bob half typed");
    expect(screen.cursor()).toEqual({ row: "> bob half typed", column: "> bob half typ".length });
    screen.type("X\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["bob half typXed"]);
  });

  it("is not lost when the half-typed line has wrapped over several rows", async () => {
    await open({ columns: 20, rows: 15 });
    const typed = `bob ${"abcdefghij".repeat(6)}`;
    screen.type(typed);
    await screen.until((s) => s.rows().join("").includes(typed));
    for (let i = 0; i < 5; i++) {
      await screen.message("alice", `message ${i}`);
      screen.type("+");
    }
    await screen.until((s) => s.rows().join("").includes(`${typed}+++++`));
    const text = content();
    for (let i = 0; i < 5; i++) expect(text.filter((line) => line === `alice: message ${i}`)).toHaveLength(1);
    expect(screen.rows().join("|").match(/> bob/g)).toHaveLength(1);
  });

  it("keeps wide characters, emoji and combining marks of the half-typed line", async () => {
    await open({ columns: 24, rows: 12 });
    const typed = "bob 漢字かな👨‍👩‍👧🇩🇪e\u0301漢字漢字漢字漢字";
    screen.type(typed);
    await screen.until((s) => s.rows().join("").includes("字漢字"));
    await screen.message("alice", "wide 漢字 and 👨‍👩‍👧");
    await screen.message("alice", "again");
    await screen.until((s) => s.lines().some((l) => l.includes("again")));
    // The line is drawn again behind the message, and once.
    await screen.until((s) => s.rows().join("|").includes("> bob"));
    expect(content().filter((line) => line.startsWith("alice: wide 漢字"))).toHaveLength(1);
    expect(screen.rows().join("|").match(/> bob/g)).toHaveLength(1);
    screen.type("\x7f\x7f\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered[0]).toBe(typed.slice(0, -2));
  });

  it("longer than the screen is wrapped by the terminal and erased nothing", async () => {
    await open({ columns: 20, rows: 8 });
    screen.type("half");
    await screen.message("alice", "one");
    await screen.message("alice", "x".repeat(250));
    await screen.message("alice", "two");
    await screen.until(() => content().includes("alice: two") && content().includes("> half"));
    expect(content()).toEqual(["alice: one", `alice: ${"x".repeat(250)}`, "alice: two", "> half"]);
  });

  it("cannot command the terminal", async () => {
    await open();
    const title = `${ESC}]0;owned\x07${ESC}[2J${ESC}[H${ESC}[6n\u009b31m\u202eevil\u200b\rover`;
    await screen.message("mallory", title);
    await screen.shows("^[]0;owned^G^[[2J^[[H^[[6n<U+009B>31m<U+202E>evil<U+200B>^Mover");
    expect(screen.entered).toEqual([]);
  });

  it("of several lines is indented to its sender", async () => {
    await open();
    await screen.message("bob", "first\nsecond");
    await screen.until(() => content().join("|").startsWith("bob: first|     second"));
  });
});

describe("keys", () => {
  it("edit in the middle of a wrapped line", async () => {
    await open({ columns: 20 });
    screen.type(`bob ${"a".repeat(40)}\x01\x1b[C\x1b[C\x1b[C!`);
    await screen.until((s) => s.rows().some((row) => row.startsWith("> bob! aaa")));
    expect(screen.cursor()).toMatchObject({ column: "> bob!".length });
    screen.type("\x0b\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["bob!"]);
  });

  it("Tab shows what names hold, and does not obey it", async () => {
    screen = await TalkScreen.open();
    await screen.does("know", ["zed\x1b]0;owned\x07a", "zed\x1b]0;owned\x07b"]);
    screen.type("z\t\t");
    await screen.shows("zed^[]0;owned^Ga  zed^[]0;owned^Gb");
    expect(screen.raw).not.toContain("\x1b]0;");
  });

  it("Tab completes names and offers choices", async () => {
    await open();
    screen.type("ali\t");
    await screen.shows("> alice");
    screen.type("\x15b\t\t");
    await screen.until(() => content().includes("bob  bobby"));
    screen.type("b\thi\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["bobby hi"]);
  });

  it("Ctrl-R searches the lines entered before, in the prompt's place", async () => {
    await open();
    screen.type("bob one\rcarol two\rhalf");
    await screen.shows("> half");
    screen.type("\x12one");
    await screen.until(() => content().at(-1) === 'search "one": bob one');
    await screen.message("alice", "meanwhile");
    await screen.shows("alice: meanwhile");
    expect(content().at(-1)).toBe('search "one": bob one');
    screen.type("\r");
    await screen.until(() => content().at(-1) === "> bob one");
    expect(screen.entered).toEqual(["bob one", "carol two"]);
    screen.type("\r");
    await screen.until(() => screen.entered.length === 3);
    expect(screen.entered.at(-1)).toBe("bob one");
  });

  it("Ctrl-L draws the screen anew", async () => {
    await open();
    await screen.message("alice", "hello");
    screen.type("half");
    await screen.shows("> half");
    const before = screen.raw.length;
    screen.type("\x0c");
    await screen.until((s) => s.raw.length > before && s.rows()[0]?.startsWith("* you are me") === true);
    await screen.until((s) => s.rows().includes("alice: hello") && s.cursor().row === "> half");
  });

  it("a pasted line has no empty line at its end", async () => {
    await open();
    screen.type(`${ESC}[200~bob one\r\ntwo\r\n${ESC}[201~\r`);
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["bob one\ntwo"]);
  });

  it("arrows walk through history and back to what was being written", async () => {
    await open();
    screen.type("bob one\rbob two\rdraft");
    await screen.shows("> draft");
    screen.type(`${ESC}[A`);
    await screen.shows("> bob two");
    screen.type(`${ESC}[A`);
    await screen.shows("> bob one");
    screen.type(`${ESC}[B${ESC}[B`);
    await screen.shows("> draft");
  });

  it("Ctrl-C clears a half-typed line and says that it does not leave; Ctrl-D is the end of input", async () => {
    await open();
    screen.type("half\x03");
    await screen.shows("Ctrl-C has cleared the line");
    await screen.until(() => content().at(-1) === "> ");
    screen.type("\x19");
    await screen.until(() => content().at(-1) === "> half");
    screen.type("\x03\x03");
    await screen.shows("Ctrl-C is disabled here");
    screen.type("\x04");
    await screen.until(() => screen.ends === 1);
    expect(screen.entered).toEqual([]);
  });

  it("a paste of several lines is one message, not several", async () => {
    await open();
    screen.type(`bob ${ESC}[200~one\r\ntwo${ESC}[201~`);
    await screen.shows("> bob one^Jtwo");
    screen.type("\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["bob one\ntwo"]);
  });
});

describe("a paste whose end does not arrive", () => {
  /** So long that what comes then comes by itself. */
  const aMoment = () => new Promise((resolve) => setTimeout(resolve, 200));

  it("stands in the line after a while, and nothing of it was entered", async () => {
    await open();
    screen.type(`${ESC}[200~bob one\rbob two\r`);
    await screen.shows("> bob one^Jbob two^J");
    await screen.shows("* the end of the paste has not arrived");
    screen.type("rest\rof it"); // no person presses these at once
    await screen.shows("> bob one^Jbob two^Jrest^Jof it");
    expect(screen.entered).toEqual([]);
    screen.type("!");
    await screen.shows("rest^Jof it!");
    await aMoment();
    screen.type("\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["bob one\nbob two\nrest\nof it!"]);
  });

  it.each([
    ["Ctrl-C", "\x03"],
    ["Ctrl-D", "\x04"],
  ])("is ended by %s, which loses nothing and does not leave", async (_, key) => {
    await open();
    screen.type("bob \x1b[D");
    screen.type(`${ESC}[200~one`);
    await aMoment();
    screen.type(key);
    await screen.shows("> bobone ");
    expect([screen.entered, screen.ends]).toEqual([[], 0]);
    expect(screen.lines().join()).not.toContain("disabled");
  });
});

describe("the fate of a message", () => {
  it("stands above the prompt while it is under way, and moves up with its mark", async () => {
    await open();
    await screen.does("sent", { id: "7", to: "bob", at: 0 }, "hello");
    screen.type("next");
    await screen.until(() => content().join("|") === "… → bob: hello|> next");
    await screen.message("alice", "meanwhile");
    await screen.until(() => content().join("|") === "alice: meanwhile|… → bob: hello|> next");
    await screen.does("delivered", { id: "7", to: "bob", at: 0, ms: 1.234, room: null });
    await screen.until(() => content().join("|") === "alice: meanwhile|✓ → bob: hello 1.23 ms|> next");
  });

  it("says why it failed", async () => {
    await open();
    await screen.does("sent", { id: "8", to: "bob", at: 0 }, "hello");
    await screen.does("failed", {
      id: "8",
      to: "bob",
      code: "no-such-user",
      message: 'no user "bob" is on',
      room: null,
    });
    await screen.until(() => content().join("|") === '✗ → bob: hello|  no user "bob" is on|> ');
  });

  it("has plain marks where the locale is not UTF-8", async () => {
    await open({ env: { LANG: "C", LC_ALL: "C" } });
    await screen.does("sent", { id: "9", to: "bob", at: 0 }, "hello");
    await screen.shows(".. -> bob: hello");
    await screen.does("delivered", { id: "9", to: "bob", at: 0, ms: 20, room: null });
    await screen.shows("ok -> bob: hello 20 ms");
  });
});

describe("the terminal", () => {
  it("is left as it was", async () => {
    await open();
    screen.type("half");
    await screen.shows("> half");
    await screen.does("leave");
    await screen.ended;
    expect(content()).toEqual(["left"]);
    expect(screen.raw.lastIndexOf(`${ESC}[?2004l`)).toBeGreaterThan(screen.raw.lastIndexOf(`${ESC}[?2004h`));
    expect(screen.raw.lastIndexOf(`${ESC}[?7h`)).toBeGreaterThan(screen.raw.lastIndexOf(`${ESC}[?7l`));
  });

  it("may change its size, also to less than the half-typed line takes", async () => {
    await open({ columns: 60, rows: 12 });
    const typed = `bob ${"0123456789".repeat(4)}`;
    await screen.message("alice", "kept");
    screen.type(typed);
    await screen.shows(`> ${typed}`);
    for (const [columns, rows] of [
      [100, 20],
      [30, 10],
      [14, 16],
      [60, 12],
      [25, 5],
    ] as const) {
      screen.resize(columns, rows);
      await screen.until(
        (s) => s.rows().join("").includes(`> ${typed}`) && (rows < 6 || s.rows().includes("alice: kept")),
      );
      expect(screen.rows().join("|").match(/> bob/g)).toHaveLength(1);
    }
    screen.type("\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual([typed]);
  });

  it("stops with Ctrl-Z in good order and continues with fg where it was", async () => {
    await open({ shell: true });
    screen.type("half");
    await screen.shows("> half");
    screen.type("\x1a");
    await screen.shows(/shell: 1(46|47|48)/); // stopped: 128 + SIGTSTP or SIGSTOP
    screen.type('stty -a | tr ";" "\\n" | grep -w icanon\r');
    await screen.until((s) => s.lines().some((line) => /(^| )icanon/.test(line)));
    screen.type("fg\r");
    await screen.until((s) => s.rows().at(s.rows().findLastIndex((row) => row !== "")) === "> half");
    screen.type(" more\r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["half more"]);
  });
});

describe("Ctrl-Z where nobody could continue the program", () => {
  const goesOn = async () => {
    await screen.shows("you are me");
    screen.type("half");
    await screen.shows("> half");
    const entered = screen.raw.split(`${ESC}[?2004h`).length;
    screen.type("\x1a");
    await screen.until(() => screen.raw.split(`${ESC}[?2004h`).length > entered); // it has left the terminal and is back
    await screen.message("alice", "meanwhile");
    screen.type("\x01more \r");
    await screen.until(() => screen.entered.length === 1);
    expect(screen.entered).toEqual(["more half"]);
    await screen.until(() => content().join("|") === "alice: meanwhile|> ");
  };

  it("goes on at once as the leader of a session", async () => {
    screen = await TalkScreen.open();
    await goesOn();
  });

  it.skipIf(whyNoHosts)(`goes on at once as process 1${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, async () => {
    screen = await TalkScreen.open({ wrapper: ["unshare", "-p", "--fork", "--kill-child", "--mount-proc"] });
    await goesOn();
  });

  it("goes on at once beside a shell that has no job control", async () => {
    screen = await TalkScreen.open({ wrapper: ["sh", "-c", '"$@"; exit $?', "sh"] });
    await goesOn();
  });
});

describe("colours", () => {
  it("are there for people, and gone with NO_COLOR", async () => {
    await open();
    await screen.message("alice", "hello");
    await screen.shows("alice: hello");
    expect(screen.raw).toMatch(new RegExp(`${ESC}\\[3\\dmalice${ESC}\\[0m: hello`));
    screen[Symbol.dispose]();
    await open({ env: { NO_COLOR: "1" } });
    await screen.message("alice", "hello");
    await screen.shows("alice: hello");
    expect(screen.raw).not.toMatch(new RegExp(`${ESC}\\[[0-9;]*m`));
  });
});
