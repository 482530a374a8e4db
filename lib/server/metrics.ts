// The server's counters as Prometheus reads them. What INFO says, with labels: a counter of a worker is its own series, so that it
// begins anew with the worker that takes the place of a dead one, and rate() is right across that.
import { createRequire } from "node:module";
import type { MailboxStats } from "../store/mailbox.ts";
import { refusalCounts, type ServerFacts } from "./info-text.ts";
import type { WorkerLoad } from "./messages.ts";

// Loaded with the first endpoint only: few servers have one.
const require = createRequire(import.meta.url);

export interface MetricsFacts extends ServerFacts {
  /** Null: none is kept. */
  readonly mailbox: MailboxStats | null;
  /** Of the primary, in ms. */
  readonly loopDelayP99: number;
}

type Kind = "Gauge" | "Counter";
/** Value and labels of one series. */
type Series = readonly [value: number, labels?: Readonly<Record<string, string>>];
type Metric = readonly [kind: Kind, name: string, help: string, series: readonly Series[]];

const MS_PER_S = 1000;

/** Metrics that one worker has, each a series of its own. */
const OF_WORKERS: readonly (readonly [Kind, string, string, (load: WorkerLoad) => number])[] = [
  ["Gauge", "worker_connections", "Open connections of a worker.", (load) => load.connections],
  ["Gauge", "worker_clients", "Registered clients of a worker.", (load) => load.clients],
  ["Gauge", "worker_memory_bytes", "Resident memory of a worker.", (load) => load.memory],
  ["Counter", "requests_total", "Requests of clients.", (load) => load.requests],
  ["Counter", "registrations_total", "Clients put into the directory.", (load) => load.registrations],
  ["Counter", "takeovers_total", "Registrations that took a name over.", (load) => load.takeovers],
  ["Counter", "unknown_outcomes_total", "Directory accesses of unknown outcome.", (load) => load.unknownOutcomes],
  ["Gauge", "watchers", "Connections that watch everybody.", (load) => load.watchers],
  ["Gauge", "watched_names", "Names and rooms that some connection watches.", (load) => load.interests],
  ["Counter", "unwatched_total", "Watches of everybody that the bound ended.", (load) => load.unwatched],
  ["Counter", "pushes_total", "Pushes sent to connections.", (load) => load.pushes],
  ["Counter", "events_coalesced_total", "Events that a later one of the name stood for.", (load) => load.coalesced],
];

function metricsOf(facts: MetricsFacts, loads: readonly WorkerLoad[]): Metric[] {
  const { mailbox, directory } = facts;
  const perWorker = (pick: (load: WorkerLoad) => number): Series[] =>
    loads.map((load) => [pick(load), { worker: String(load.id) }]);
  const delays: Series[] = [
    [facts.loopDelayP99 / MS_PER_S, { process: "primary" }],
    ...loads.map(({ id, loopDelayP99 }): Series => [loopDelayP99 / MS_PER_S, { process: `worker-${id}` }]),
  ];
  const metrics: Metric[] = [
    ["Gauge", "info", "The server's version.", [[1, { version: facts.version }]]],
    ["Gauge", "start_time_seconds", "When the server started, in Unix time.", [[facts.startedAt / MS_PER_S]]],
    ["Gauge", "clients", "Clients that are on.", [[facts.clients]]],
    ["Gauge", "capacity", "Clients that there is room for.", [[facts.capacity]]],
    ["Gauge", "connections", "Open connections.", [[facts.connections]]],
    ["Gauge", "workers", "Worker processes that answer.", [[loads.length]]],
    ["Counter", "workers_replaced_total", "Workers that died and were replaced.", [[facts.workersReplaced]]],
    ["Counter", "events_relayed_total", "Events passed on from one worker to another.", [[facts.relayed]]],
    [
      "Gauge",
      "loop_delay_p99_seconds",
      "99th percentile of how late the event loop was since the last scrape.",
      delays,
    ],
    ...OF_WORKERS.map(([kind, name, help, pick]): Metric => [kind, name, help, perWorker(pick)]),
    [
      "Counter",
      "refused_total",
      "Requests and connections that were refused.",
      [...refusalCounts(facts.refusals, loads)].map(([reason, count]) => [count, { reason }]),
    ],
    [
      "Counter",
      "signals_total",
      "Signals that the primary has taken.",
      facts.signals.map(({ signal, count }) => [count, { signal }]),
    ],
  ];
  if (directory.lock_recoveries !== undefined) {
    const count = (field: string): number => directory[field] ?? 0;
    metrics.push(
      [
        "Counter",
        "lock_acquisitions_total",
        "Entries into the table's lock.",
        [
          [count("lock_reads"), { kind: "read" }],
          [count("lock_writes"), { kind: "write" }],
        ],
      ],
      ["Counter", "lock_waits_total", "Entries that waited.", [[count("lock_waits")]]],
      ["Counter", "lock_recoveries_total", "Times the lock was rebuilt after a death.", [[count("lock_recoveries")]]],
    );
  }
  const shared = (kind: Kind, field: string, help: string): Metric => [
    kind,
    kind === "Counter" ? `${field}_total` : field,
    help,
    [[directory[field] ?? 0]],
  ];
  if (directory.engine_reachable !== undefined) {
    metrics.push(
      shared("Gauge", "engine_reachable", "1 while the shared directory's engine answers."),
      shared("Gauge", "engine_claiming", "1 while this server holds its lease there."),
      shared("Gauge", "engine_servers", "Servers that share the directory and are alive."),
      shared("Gauge", "engine_rows", "Clients of all servers."),
      shared("Gauge", "engine_names", "Names that belong to a key."),
      shared("Gauge", "engine_revision", "The engine's revision that this server has followed to."),
      shared("Counter", "engine_incarnations", "Leases that this server has had."),
      shared("Counter", "engine_writes", "Writes sent to the engine."),
      shared("Counter", "engine_batches", "Transactions that they were sent in."),
      shared("Counter", "engine_unknown_writes", "Writes whose outcome had to be found out."),
      shared("Counter", "engine_lists", "Lists of the whole directory."),
      shared("Counter", "engine_watches", "Watches begun."),
      shared("Counter", "engine_repaired", "Changes that a watch had lost and a list has shown."),
    );
  }
  if (directory.peer_links !== undefined) {
    metrics.push(
      shared("Gauge", "peer_links", "Links to other servers of the directory that this one has opened."),
      shared("Gauge", "peer_connections", "Links that other servers have opened to this one."),
      shared("Counter", "peer_sent", "Frames sent to other servers."),
      shared("Counter", "peer_received", "Frames of other servers."),
      shared("Counter", "peer_lost", "Frames that a link dropped: no server there, too much, too fast."),
      shared("Counter", "peer_refused", "Connections to the port for servers that were none of a server."),
      shared("Counter", "peer_mail_handed", "Kept messages handed over to the servers of their recipients."),
      shared("Counter", "peer_mail_taken", "Kept messages of other servers for clients here."),
      shared(
        "Counter",
        "peer_mail_refused",
        "Times that another server had no room for a kept message, or keeps none.",
      ),
      shared("Gauge", "peer_mail_waiting", "Messages kept here for clients that are on at another server."),
    );
  }
  if (mailbox !== null) {
    metrics.push(
      ["Gauge", "mailbox_messages", "Messages and receipts kept for clients that are off.", [[mailbox.messages]]],
      ["Gauge", "mailbox_bytes", "What the kept messages count for.", [[mailbox.bytes]]],
      ["Gauge", "mailbox_limit_bytes", "What they may count for.", [[mailbox.limit]]],
    );
  }
  return metrics;
}

export interface MetricsText {
  readonly contentType: string;
  readonly text: string;
}

/** Metrics in Prometheus's text format, with "ptalk_" before each name. */
export async function metricsText(facts: MetricsFacts, loads: readonly WorkerLoad[]): Promise<MetricsText> {
  const prometheus = require("prom-client") as typeof import("prom-client");
  const registry = new prometheus.Registry();
  for (const [kind, name, help, series] of metricsOf(facts, loads)) {
    if (series.length === 0) continue; // nothing has been refused yet, say
    const labelNames = [...new Set(series.flatMap(([, labels = {}]) => Object.keys(labels)))];
    const metric = new prometheus[kind]({ name: `ptalk_${name}`, help, labelNames, registers: [registry] });
    for (const [value, labels = {}] of series) metric.inc(labels, value);
  }
  return { contentType: registry.contentType, text: await registry.metrics() };
}
