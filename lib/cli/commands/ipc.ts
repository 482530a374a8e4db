// `ptalk ipc [--clean]`: this user's ptalk objects under /dev/shm, live or left behind. `--all`: every POSIX object of the host.
import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, Option } from "commander";
import { hostObjects } from "../../ipc/index.ts";
import { table } from "../format.ts";
import { clean } from "../ipc/clean.ts";
import { type IpcGroup, type IpcObject, inventory, YOUNG_MS } from "../ipc/inventory.ts";
import { note, print, printJson } from "../output.ts";
import { painter } from "../style.ts";

const HELP = `
live: a process takes part. dead: its maker was killed; the next ptalk of that port or user takes it away,
or --clean does now. new: is being made at this moment; --clean waits until it is live or dead.`;

export function command(): Command {
  return new Command("ipc")
    .description("Prints this user's ptalk objects under /dev/shm: shared memory and semaphores, live or left behind.")
    .option("--clean", "remove the dead ones")
    .addOption(
      new Option("--all", "every POSIX object of the host, whoever's: who has it open, locks held").conflicts("clean"),
    )
    .addHelpText("after", HELP)
    .action(run);
}

async function run(options: { readonly clean?: boolean; readonly all?: boolean }, command: Command): Promise<void> {
  const { json } = command.optsWithGlobals<{ json?: boolean }>();
  if (options.all) return printAll(json === true);
  const uid = process.getuid?.() ?? userInfo().uid;
  const groups = options.clean ? await settledInventory(uid) : inventory(uid);
  const removed = new Set(options.clean ? groups.filter(({ state }) => state === "dead").flatMap(clean) : []);
  const rows = groups.flatMap((group) => group.objects.map((object) => row(group, object, removed.has(object))));
  if (json) return printJson(rows);
  if (rows.length === 0) return print("nothing of this user's ptalk is under /dev/shm");
  const cells = rows.map(({ name, kind, size, mode, state }) => [name, kind, String(size), mode, state]);
  await print(table(["NAME", "KIND", "BYTES", "MODE", "STATE"], cells, painter(process.stdout)).join("\n"));
  if (!options.clean && groups.some(({ state }) => state === "dead")) note("ptalk ipc --clean removes the dead");
}

async function printAll(json: boolean): Promise<void> {
  const rows = hostObjects().map((object) => ({ ...object, mode: octal(object.mode) }));
  if (json) return printJson(rows);
  if (!existsSync(QUEUES)) note(`message queues are not shown: mount -t mqueue none ${QUEUES}`);
  if (rows.length === 0) return print("no POSIX object is on this host");
  const cells = rows.map(({ name, kind, uid, size, mode, openBy, locks }) => [
    name,
    kind,
    String(uid),
    size === null ? "-" : String(size),
    mode,
    String(locks),
    openBy.join(",") || "-",
  ]);
  await print(
    table(["NAME", "KIND", "UID", "BYTES", "MODE", "LOCKS", "OPEN BY"], cells, painter(process.stdout)).join("\n"),
  );
}

/** Where Linux shows message queues, once it is mounted there: mq_overview(7). */
const QUEUES = "/dev/mqueue";

const octal = (mode: number): string => mode.toString(8).padStart(4, "0");

const SETTLE_MS = YOUNG_MS + 500; // what is new now is not by then; the workers of a killed server end within milliseconds
const LOOK_EVERY_MS = 50;

async function settledInventory(uid: number): Promise<IpcGroup[]> {
  const deadline = performance.now() + SETTLE_MS;
  let groups = inventory(uid);
  while (groups.some(({ passing }) => passing) && performance.now() < deadline) {
    await sleep(LOOK_EVERY_MS);
    groups = inventory(uid);
  }
  return groups;
}

function row({ state }: IpcGroup, { name, kind, size, mode }: IpcObject, removed: boolean) {
  return { name, kind, size, mode: octal(mode), state: removed ? "removed" : state };
}
