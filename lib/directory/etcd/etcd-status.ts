// How each member of an etcd cluster is, as `ptalk doctor` shows it: asked one by one, also of those that do not answer.
import type { EtcdAccess } from "./address.ts";
import { CallError, Channel } from "./channel.ts";
import { plainText } from "./cluster.ts";
import { ALARM, type Alarm, AUTHENTICATE, type MemberStatus, RANGE, STATUS } from "./messages.ts";

export interface MemberReport {
  /** "HOST:PORT" */
  readonly address: string;
  /** Null: it does not answer, or refuses; `problem` says why. */
  readonly status: MemberStatus | null;
  readonly problem: string | null;
  readonly alarms: readonly Alarm[];
  /** Why the prefix cannot be read by way of this member; null if it can. */
  readonly readProblem: string | null;
}

/** @param ms for each member, all at once */
export function memberReports(access: EtcdAccess, ms: number): Promise<MemberReport[]> {
  return Promise.all(access.members.map((address) => memberReport(access, address, ms)));
}

async function memberReport(access: EtcdAccess, address: string, ms: number): Promise<MemberReport> {
  const until = performance.now() + ms;
  const left = () => Math.max(1, until - performance.now());
  const channel = new Channel(address, access.tls);
  const silent = { address, status: null, alarms: [], readProblem: null };
  try {
    await channel.ready(left());
    const { credentials } = access;
    const token = credentials === null ? null : await channel.call(AUTHENTICATE, credentials, left());
    // Both are answered by a member that has no leader, too; to read takes the majority.
    const status = await channel.call(STATUS, undefined, left(), token, { needsLeader: false });
    const alarms = await channel.call(ALARM, undefined, left(), token).catch(() => []);
    const range = { prefix: `${access.prefix}/`, after: "", limit: 1, revision: 0 };
    const readProblem = await channel.call(RANGE, range, left(), token).then(() => null, problemOf);
    return { address, status, problem: null, alarms, readProblem };
  } catch (error) {
    return { ...silent, problem: problemOf(error) };
  } finally {
    channel.close();
  }
}

function problemOf(error: unknown): string {
  if (!(error instanceof CallError)) throw error;
  return plainText(error);
}
