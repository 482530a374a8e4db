// `npm run picture`: the README's picture, drawn from real programs. A lookup server, alice and bob at pseudo-terminals
// (node-pty), and the screens that xterm's own emulator makes of their output, as an SVG in docs/talk.svg.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import xterm from "@xterm/headless";
import pty from "node-pty";

const root = join(import.meta.dirname, "..");
const program = join(root, "bin/ptalk.js");
const home = mkdtempSync(join(tmpdir(), "ptalk-picture-"));
const COLUMNS = 76;
const ROWS = 8;
const CELL = { width: 7.8, height: 18 };
const WATCHDOG_MS = 30_000;
const palette = ["#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4"];

const running = [];

/** A program at a terminal, whose screen can be waited for. */
function terminal(name, args, server) {
  const screen = new xterm.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
  const env = {
    ...process.env,
    XDG_STATE_HOME: join(home, name),
    XDG_CONFIG_HOME: home,
    PTALK_SERVER: server,
    LANG: "C.UTF-8",
  };
  delete env.NO_COLOR;
  const child = pty.spawn(process.execPath, [program, ...args], {
    name: "xterm-256color",
    cols: COLUMNS,
    rows: ROWS,
    env,
  });
  running.push(child);
  child.onData((data) => screen.write(data));
  screen.onData((answer) => child.write(answer));
  const text = () =>
    rows(screen)
      .map((row) => row.map((cell) => cell.text).join(""))
      .join("\n");
  const shows = async (wanted) => {
    const end = Date.now() + WATCHDOG_MS;
    while (!text().includes(wanted)) {
      if (Date.now() > end) throw new Error(`${name} never showed ${wanted}:\n${text()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { screen, shows, type: (keys) => child.write(keys) };
}

/** The screen's cells: text, color, weight, column and how wide. */
function rows(screen) {
  const buffer = screen.buffer.active;
  return Array.from({ length: ROWS }, (_, y) => {
    const line = buffer.getLine(buffer.baseY + y);
    const cells = [];
    for (let x = 0; line && x < COLUMNS; x++) {
      const cell = line.getCell(x);
      if (!cell || cell.getWidth() === 0) continue;
      const color = cell.isFgPalette() ? palette[cell.getFgColor() % 8] : undefined;
      cells.push({
        x,
        width: cell.getWidth(),
        text: cell.getChars() || " ",
        color,
        bold: cell.isBold() !== 0,
        dim: cell.isDim() !== 0,
      });
    }
    return cells;
  });
}

const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

/** One window with a title, drawn at that height. */
function windowAt(top, title, screen) {
  const width = COLUMNS * CELL.width + 24;
  const height = ROWS * CELL.height + 44;
  const { cursorX, cursorY } = screen.buffer.active;
  const texts = rows(screen).flatMap((cells, y) =>
    cells
      .filter((cell) => cell.text !== " ")
      .map((cell) => {
        const style = `${cell.color ? ` fill="${cell.color}"` : ""}${cell.bold ? ' font-weight="bold"' : ""}${cell.dim ? ' opacity="0.65"' : ""}`;
        return `<text x="${(12 + cell.x * CELL.width).toFixed(1)}" y="${48 + y * CELL.height}"${style}>${escaped(cell.text)}</text>`;
      }),
  );
  return `<g transform="translate(0 ${top})">
<rect width="${width}" height="${height}" rx="8" fill="#0d1117" stroke="#30363d"/>
<circle cx="16" cy="15" r="5" fill="#ff5f57"/><circle cx="33" cy="15" r="5" fill="#febc2e"/><circle cx="50" cy="15" r="5" fill="#28c840"/>
<text x="${width / 2}" y="20" text-anchor="middle" fill="#8b949e">${escaped(title)}</text>
<rect x="${12 + cursorX * CELL.width}" y="${35 + cursorY * CELL.height}" width="${CELL.width}" height="${CELL.height - 2}" fill="#8b949e" opacity="0.8"/>
${texts.join("\n")}
</g>`;
}

/** The lookup server on a port of its own; its address from the ready line. */
function serve() {
  const child = spawn(process.execPath, [
    program,
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--state-dir",
    join(home, "server"),
  ]);
  running.push(child);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.stdout.on("data", (text) => {
      const ready = /serving on (\S+)/.exec(String(text));
      if (ready) resolve({ child, address: ready[1] });
    });
  });
}

try {
  const server = await serve();
  const bob = terminal("bob", ["--as", "bob"], server.address);
  await bob.shows("bob");
  const alice = terminal("alice", ["--as", "alice", "bob"], server.address);
  await alice.shows("bob>");
  alice.type("is the cluster up again?\r");
  await bob.shows("up again?");
  await alice.shows("✓ → bob");
  bob.type("/r\r");
  await bob.shows("alice>");
  bob.type("since this morning 早上好 👋\r");
  await alice.shows("this morning");
  bob.type("and I am half way through typing");
  await bob.shows("half way");
  alice.type("lunch?\r");
  await bob.shows("lunch?");
  alice.type("/all\r");
  await alice.shows("127.0.0.1:");
  await new Promise((resolve) => setTimeout(resolve, 500));
  const [width, gap, height] = [COLUMNS * CELL.width + 24, 14, ROWS * CELL.height + 44];
  const windows = [windowAt(0, "$ ptalk bob", alice.screen), windowAt(height + gap, "$ ptalk", bob.screen)];
  const total = 2 * height + gap;
  writeFileSync(
    join(root, "docs/talk.svg"),
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="-1 -1 ${width + 2} ${total + 2}" font-family="ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, monospace" font-size="13" fill="#e6edf3" xml:space="preserve">\n<title>Two terminals: alice and bob talk with ptalk</title>\n${windows.join("\n")}\n</svg>\n`,
  );
  alice.type("/exit\r");
  bob.type("\x15/exit\r");
  server.child.kill("SIGTERM");
  await new Promise((resolve) => server.child.once("exit", resolve));
} finally {
  for (const child of running) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true });
}
process.exit(0);
