// What a client counts, as lines for people. Pure.
import type { ClientStats, PeerStats } from "../../client/types.ts";
import { escapeControls } from "../escape-controls.ts";
import { duration } from "../times.ts";

export function statsLines({ server, directory, messages, peers }: ClientStats): string[] {
  const { received, refused, declined, delivered, unconfirmed, underWay } = messages;
  const doubt = unconfirmed === 0 ? "" : `, ${unconfirmed} unconfirmed`;
  return [
    `server     ${server.isConnected ? "connected" : "away"}, round trip ${time(server.roundTripMs)}, ${many(server.reconnects, "reconnect")}`,
    `names      ${directory.contacts} known, ${directory.lookups} asked for, ${directory.fromMemory} answered from memory`,
    `sent       ${delivered} delivered, ${underWay} under way, ${failures(messages.failed)}${doubt}`,
    `received   ${received}, and ${refused} refused, ${declined} declined`,
    `datagrams  ${peers.datagramsSent} out (${bytes(peers.bytesSent)}), ${peers.datagramsReceived} in (${bytes(peers.bytesReceived)}), ${peers.retransmissions} sent again, ${sum(peers.dropped)} dropped`,
    `sessions   ${peers.sessions}`,
    ...peers.peers.map(peerLine),
  ];
}

function peerLine({ name, key, endpoint, via, roundTripMs, delivered, waiting }: PeerStats["peers"][number]): string {
  const { address, port } = endpoint ?? {};
  const host = address?.includes(":") ? `[${address}]` : address;
  const where = via === null ? "no session" : via === "relay" ? "by the relay" : `${host}:${port}`;
  const who = name === null ? `key ${key}` : escapeControls(name);
  return `  ${who}: ${where}, round trip ${time(roundTripMs)}, ${delivered} delivered, ${waiting} under way`;
}

function failures(failed: Readonly<Record<string, number>>): string {
  const codes = Object.entries(failed).filter(([, count]) => count > 0);
  const each = codes.map(([code, count]) => `${code} ${count}`).join(", ");
  return `${sum(failed)} failed${each === "" ? "" : ` (${each})`}`;
}

const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);
const time = (ms: number | null): string => (ms === null ? "not measured" : duration(ms));
const many = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** "512 B", "1.2 kB": powers of 1000. */
function bytes(count: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return power === 0 ? `${count} B` : `${(count / 1000 ** power).toFixed(1)} ${UNITS[power]}`;
}
