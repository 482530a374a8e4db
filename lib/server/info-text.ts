// INFO as text, in Redis's form: sections with a "# Title", lines "field:value".
import type { SignalCount } from "../ipc/index.ts";
import type { WorkerLoad } from "./messages.ts";

export interface ServerFacts {
  readonly version: string;
  readonly pid: number;
  readonly uid: number;
  readonly address: string;
  readonly tls: boolean;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly clients: number;
  readonly capacity: number;
  readonly connections: number;
  /** Of the users and addresses that have clients on. */
  readonly accounts: Readonly<Record<string, number>>;
  /** Events passed on from one worker to another. */
  readonly relayed: number;
  readonly workersReplaced: number;
  readonly refusals: ReadonlyMap<string, number>;
  /** Signals that the primary has taken. */
  readonly signals: readonly SignalCount[];
  /** What administrators have done. */
  readonly admin: Readonly<Record<string, number>>;
  /** Counters of the directory itself, flat. */
  readonly directory: Readonly<Record<string, number>>;
}

export function infoText(facts: ServerFacts, loads: readonly WorkerLoad[]): string {
  const sections = [
    section("Server", {
      ptalk_version: facts.version,
      process_id: facts.pid,
      process_uid: facts.uid,
      listening: facts.address,
      tls: facts.tls ? 1 : 0,
      uptime_in_seconds: Math.floor((Date.now() - facts.startedAt) / 1000),
      uptime_in_milliseconds: Date.now() - facts.startedAt,
      loading: 0,
    }),
    section("Clients", {
      clients: facts.clients,
      capacity: facts.capacity,
      connected_clients: facts.connections,
      ...facts.accounts,
    }),
    section("Workers", {
      workers: loads.length,
      workers_replaced: facts.workersReplaced,
      ...Object.fromEntries(loads.map((load, index) => [`worker_${index}`, workerText(load)])),
    }),
    section("Directory", {
      registrations: sum(loads, "registrations"),
      takeovers: sum(loads, "takeovers"),
      unknown_outcomes: sum(loads, "unknownOutcomes"),
      watchers: sum(loads, "watchers"),
      watched_names: sum(loads, "interests"),
      unwatched: sum(loads, "unwatched"),
      pushes_sent: sum(loads, "pushes"),
      events_coalesced: sum(loads, "coalesced"),
      events_relayed: facts.relayed,
      ...facts.directory,
    }),
    section("Relay", {
      relayed_datagrams: sum(loads, "relayed"),
      relayed_bytes: sum(loads, "relayedBytes"),
      relay_lost: sum(loads, "relayLost"),
    }),
    section("Admin", facts.admin),
    section(
      "Signals",
      Object.fromEntries(
        facts.signals.map(({ signal, count, lastPid }) => [`signal_${signal}`, `count=${count},last_pid=${lastPid}`]),
      ),
    ),
    section(
      "Refusals",
      Object.fromEntries([...refusalCounts(facts.refusals, loads)].map(([why, count]) => [`refused_${why}`, count])),
    ),
  ];
  return sections.join("\r\n");
}

function workerText(load: WorkerLoad): string {
  const { id, pid, connections, clients, requests, loopDelayP99, memory } = load;
  return `id=${id},pid=${pid},connections=${connections},clients=${clients},requests=${requests},loop_delay_p99_ms=${loopDelayP99},memory=${memory}`;
}

type Counter =
  | "registrations"
  | "takeovers"
  | "unknownOutcomes"
  | "watchers"
  | "interests"
  | "unwatched"
  | "pushes"
  | "relayed"
  | "relayedBytes"
  | "relayLost"
  | "coalesced";

/** Of the workers that are alive: a dead one takes its counters with it. */
function sum(loads: readonly WorkerLoad[], counter: Counter): number {
  return loads.reduce((total, load) => total + load[counter], 0);
}

/** How often the primary and its workers have refused something, by reason: a word. */
export function refusalCounts(own: ReadonlyMap<string, number>, loads: readonly WorkerLoad[]): Map<string, number> {
  const sums = new Map<string, number>();
  const add = (reason: string, count: number) => {
    const word = reason.toLowerCase().replace(/[^a-z0-9]+/g, "_");
    sums.set(word, (sums.get(word) ?? 0) + count);
  };
  for (const [reason, count] of own) add(reason, count);
  for (const load of loads) for (const [reason, count] of Object.entries(load.refusals)) add(reason, count);
  return sums;
}

function section(title: string, fields: Readonly<Record<string, string | number>>): string {
  const lines = Object.entries(fields).map(([field, value]) => `${field}:${value}\r\n`);
  return `# ${title}\r\n${lines.join("")}`;
}
