// The people and hosts of a run with many servers, and what happens to each: a pure function of the seed, as in schedule.ts.
import type { Random } from "../helpers/random.ts";
import type { Cast, Faults } from "./schedule.ts";

/** What may happen to three servers, the three etcd members that hold their directory, and people on four hosts. */
export const DIRECTORY_KINDS = {
  etcd: "a member of etcd, perhaps the leader, is killed, and started again",
  "etcd-stop": "a member of etcd, perhaps the leader, is stopped (SIGSTOP) for a time",
  "etcd-cut": "a member of etcd, perhaps the leader, is cut off from the others, perhaps with a server",
  compaction: "etcd forgets what was before",
  primary: "a server is killed, and started again",
  restart: "a server is shut down, and started again",
  worker: "a worker process of a server is killed",
  stop: "a server, a worker or a client is stopped (SIGSTOP) for a time",
  "engine-cut": "a server is cut off from etcd, or from one member",
  "peer-cut": "a server is cut off from another one",
  "server-cut": "people of a host are cut off from a server, or from all",
  "path-cut": "people of two hosts are cut off from each other",
  cable: "a host's cable is pulled for a time",
  client: "a client is killed, and started again",
  leave: "a client leaves, and comes back",
  takeover: "another program of the same person takes the name over",
  room: "a client enters a room, or leaves it",
  race: "programs with different keys want a new name at once, each at another server",
} as const;
export type DirectoryKind = keyof typeof DIRECTORY_KINDS;
export const ALL_DIRECTORY_KINDS = Object.keys(DIRECTORY_KINDS) as DirectoryKind[];

const WEIGHTS: Readonly<Record<DirectoryKind, number>> = {
  etcd: 2,
  "etcd-stop": 2,
  "etcd-cut": 2,
  compaction: 2,
  primary: 3,
  restart: 1,
  worker: 2,
  stop: 4,
  "engine-cut": 3,
  "peer-cut": 2,
  "server-cut": 3,
  "path-cut": 2,
  cable: 2,
  client: 4,
  leave: 2,
  takeover: 3,
  room: 4,
  race: 2,
};

/** Milliseconds between two faults, on average. */
const FAULT_EVERY_MS = 1_000;

export const ETCDS = ["e1", "e2", "e3"];
export const SERVERS = ["s1", "s2", "s3"];
export const HOSTS = ["c1", "c2", "c3", "c4"];
export const ANN = { name: "ann", program: "talk" } as const;
export const BEN = { name: "ben", program: "lib" } as const;
export const MEMBERS = [
  ANN,
  BEN,
  { name: "cat", program: "talk" },
  { name: "dan", program: "lib" },
  { name: "eve", program: "recv" },
  { name: "fin", program: "lib" },
  { name: "gus", program: "talk" },
  { name: "hal", program: "lib" },
  { name: "ivy", program: "recv" },
  { name: "jon", program: "lib" },
  { name: "kay", program: "talk" },
  { name: "lea", program: "lib" },
] as const;
/** Is never on. */
export const MAX = "max";
const LIBRARY_USERS = MEMBERS.filter(({ program }) => program === "lib").map(({ name }) => name);
export const MANY_CAST: Cast = {
  talkers: MEMBERS.filter(({ program }) => program !== "recv").map(({ name }) => name),
  members: MEMBERS.map(({ name }) => name),
  elders: [ANN.name, BEN.name],
  senders: [MAX, "cat"],
  messageEveryMs: 1_000,
};
export const hostOf = (name: string): string =>
  HOSTS[Math.max(0, MANY_CAST.members.indexOf(name)) % HOSTS.length] as string;

/** Whom it hinders that something is wrong with these hosts: everybody, unless people's hosts alone are meant. */
export function hits(hosts: readonly string[]): string[] {
  const users = [...MANY_CAST.members, MAX].filter((name) => hosts.includes(hostOf(name)));
  return hosts.every((host) => HOSTS.includes(host)) ? users : ["*", ...users];
}

export const others = (names: readonly string[], name: string): string[] => names.filter((each) => each !== name);

export function ofManyServers(kinds: readonly DirectoryKind[]): Faults<DirectoryKind> {
  return { kinds, weights: WEIGHTS, everyMs: FAULT_EVERY_MS, target };
}

function target(random: Random, kind: DirectoryKind): string {
  switch (kind) {
    case "client":
    case "leave":
      return random.pick(MANY_CAST.members.filter((name) => !MANY_CAST.elders.includes(name)));
    case "takeover":
      return random.pick(others(LIBRARY_USERS, BEN.name));
    case "room":
      return random.pick(LIBRARY_USERS);
    case "stop":
      return random.pick([...SERVERS, ...SERVERS, ...MANY_CAST.members]);
    case "server-cut":
    case "path-cut":
      return random.pick(HOSTS);
    case "cable":
      return random.pick([...ETCDS, ...SERVERS, ...HOSTS]);
    default:
      return random.pick(SERVERS);
  }
}
