// `ptalk top [--once]`: server, workers, lock, signals and tables, live.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { commandContext } from "../command-context.ts";
import { jsonLine, print } from "../output.ts";
import { watchShutdown } from "../shutdown.ts";
import { painter } from "../style.ts";
import { type FrameOptions, frame } from "../top/frame.ts";
import { TopReader, type TopSnapshot } from "../top/snapshot.ts";
import { TopScreen } from "../top/top-screen.ts";

const HELP = `
Ten times a second; q or Ctrl-C ends it. Without a terminal one screen follows the other; with --json a line each.
What it shows of lock and table needs the server on this host, and read permission.`;

const EVERY_MS = 100;
/** Columns where there is no terminal. */
const PLAIN_COLUMNS = 80;

export function command(): Command {
  return new Command("top")
    .description("Shows the server's workers, the lock with who is inside or waits, signals and tables, live.")
    .option("--once", "print it once")
    .addHelpText("after", HELP)
    .action(run);
}

async function run({ once }: { readonly once?: boolean }, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  await using reader = new TopReader(config);
  const first = await reader.first();
  const userOf = userNames();
  const show = (snapshot: TopSnapshot, before: TopSnapshot | null, columns: number) =>
    frame(snapshot, { columns, before, userOf, paint: painter(process.stdout) } satisfies FrameOptions);
  if (once && json) return print(jsonLine(first));
  if (once) return print(show(first, null, process.stdout.columns ?? PLAIN_COLUMNS).join("\n"));

  using shutdown = watchShutdown();
  const hasScreen = !json && process.stdout.isTTY && process.env.TERM !== "dumb";
  using screen = hasScreen ? new TopScreen(process.stdin, process.stdout) : null;
  const signal = screen === null ? shutdown.signal : AbortSignal.any([shutdown.signal, screen.quit]);
  let due = performance.now();
  for (let [before, now]: [TopSnapshot | null, TopSnapshot] = [null, first]; ; ) {
    if (json) await print(jsonLine(now));
    else if (screen !== null) screen.draw(show(now, before, screen.columns));
    else await print(`${show(now, before, PLAIN_COLUMNS).join("\n")}\n`);
    due = Math.max(due + EVERY_MS, performance.now()); // missed rounds are skipped
    await sleep(due - performance.now(), undefined, { signal }).catch(() => {});
    if (screen?.quit.aborted) return;
    shutdown.signal.throwIfAborted();
    [before, now] = [rateBase(before, now), await reader.next()];
  }
}

/** Rates are of a second: of a tenth they would flicker. */
const RATE_MS = 1_000;

function rateBase(before: TopSnapshot | null, now: TopSnapshot): TopSnapshot {
  if (before === null) return now;
  return Date.parse(now.at) - Date.parse(before.at) >= RATE_MS ? now : before;
}

/** From the file that every libc reads first; of a user that it does not have, the digits. */
function userNames(): (uid: number) => string {
  const names = new Map<number, string>();
  try {
    for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
      const [name, , uid] = line.split(":");
      if (name && uid && !names.has(Number(uid))) names.set(Number(uid), name);
    }
  } catch {
    // Without it everybody goes by number.
  }
  return (uid) => names.get(uid) ?? String(uid);
}
