// The directory that this host's server shares with others: its etcd, member by member.
import { TalkError } from "../../base/errors.ts";
import type { MemberReport } from "../../directory/etcd/etcd-status.ts";
import { engineMembers } from "../../directory/open.ts";
import { loadServeConfig } from "../config.ts";
import { type Finding, fail, ok, warn } from "./check.ts";

const PATIENCE_MS = 3_000;
/** The first version of 3.4 without the lost DELETE events of etcd#18475 and #19251. */
const SOUND_3_4 = 42;
const CHECK = "directory";
const OPERATIONS = 'docs/OPERATIONS.md, "etcd"';

/** Nothing without `directory = "etcd://…"` in the server's settings. */
export async function checkDirectory(): Promise<Finding[]> {
  let reports: readonly MemberReport[];
  try {
    const { directory: address, directoryCa, directoryCert, directoryKey } = await loadServeConfig();
    if (address === undefined) return [];
    const files = { ca: directoryCa ?? null, certificate: directoryCert ?? null, key: directoryKey ?? null };
    reports = await engineMembers({ address, ...files }, PATIENCE_MS);
  } catch (error) {
    if (!(error instanceof TalkError)) throw error;
    // Its files are the service's own.
    if (error.code === "refused") return [warn(CHECK, error.message, "run ptalk doctor as the server's user")];
    return [fail(CHECK, error.message, "mend the settings directory, directory-ca, directory-cert and directory-key")];
  }
  return [...reports.map((report) => memberFinding(report, reports)), ...alarmFindings(reports)];
}

function memberFinding({ address, status, problem, readProblem }: MemberReport, all: readonly MemberReport[]): Finding {
  const isServed = all.some((other) => other.status !== null && other.readProblem === null);
  const bad = isServed ? warn : fail;
  if (status === null) {
    return bad(CHECK, `etcd at ${address}: ${problem}`, `see whether etcd runs there, and its firewall: ${OPERATIONS}`);
  }
  const what = `etcd ${status.version} at ${address}`;
  if (readProblem !== null) {
    return bad(CHECK, `${what}: ${readProblem}`, `more than half of the members have to be up: ${OPERATIONS}`);
  }
  const weakness = weaknessOf(status.version);
  if (weakness !== null) return warn(CHECK, `${what}: ${weakness}`, "upgrade to a version that is maintained");
  return ok(CHECK, `${what}${status.leader === status.member ? ", the leader" : ""}`);
}

/** Why a version is no good, null if it is. */
function weaknessOf(version: string): string | null {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  if (major > 3 || minor > 4) return null;
  const end = "3.4 has had no fixes since 2026-06-01";
  if (minor === 4 && patch >= SOUND_3_4) return end;
  return `it can lose DELETE events (etcd#18475, etcd#19251), which servers find out minutes later; ${end}`;
}

function alarmFindings(reports: readonly MemberReport[]): Finding[] {
  const alarms = new Set(reports.flatMap((report) => report.alarms.map(({ alarm }) => alarm)));
  const found: Finding[] = [];
  if (alarms.has("NOSPACE")) {
    const detail = "etcd's space is used up (alarm NOSPACE): a server that loses its lease cannot come back";
    found.push(fail(CHECK, detail, `compact, defragment, then disarm the alarm: ${OPERATIONS}`));
  }
  if (alarms.has("CORRUPT")) {
    const detail = "members of etcd hold different data (alarm CORRUPT)";
    found.push(fail(CHECK, detail, `replace the member that differs: ${OPERATIONS}`));
  }
  return found;
}
