import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { standIn } from "./stand-ins.ts";

const [{ native }, { IpcError }] = await Promise.all([import("../../lib/native.ts"), import("../../lib/ipc/error.ts")]);
const clock = performance.now.bind(performance);
const { Life } = await import("./life.ts");
await import("../../lib/client/left-messages.ts");
standIn(native, (errno, call) => new IpcError(errno, call));
const folder = mkdtempSync(join(tmpdir(), "ptalk-simulation-"));
const seed = Number(process.argv[2] ?? 1);
const people = Number(process.argv[3] ?? 10);
const began = clock();
const life = new Life({ seed, people, servers: 3, ms: Number(process.argv[4] ?? 30_000), folder, trace: process.env.TRACE ? console.log : undefined });
await life.run();
console.log(life.violations.slice(0, 10), life.world.steps, life.world.age, life.journal.sums, life.done, clock() - began);
rmSync(folder, { recursive: true });
if (process.env.DEBUG) for (const p of life.programs) console.log(p.name, p.error, p.process.isDead); for (const s of life.servers) console.log(s.isUp);
