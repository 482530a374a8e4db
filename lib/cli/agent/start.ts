// `ptalk agent start`: an agent in a process of its own, and whether it has begun.
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../../base/errors.ts";
import { startInBackground } from "../../client/background-program.ts";
import { agentLogFile, ensureStateDir } from "../../store/state-paths.ts";

/** Milliseconds until it has the name: a server may have to be started first, on a busy host. */
const START_LIMIT_MS = 20_000;
const LOOK_EVERY_MS = 20;

export interface StartOptions {
  readonly stateDir: string;
  /** For the agent, behind "agent". */
  readonly args: readonly string[];
  /** Whether that process is an agent that is ready. */
  readonly isReady: (pid: number) => boolean;
  readonly signal: AbortSignal;
}

/** @returns the agent's pid. @throws TalkError with the agent's own words; the signal's reason, then the agent is ended */
export async function startAgent({ stateDir, args, isReady, signal }: StartOptions): Promise<number> {
  ensureStateDir(stateDir);
  const program = startInBackground(["agent", ...args], agentLogFile(stateDir));
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    const { child, end } = program;
    if (end !== undefined) throw new AgentFailed(end.status, end.reason ?? `it ${end.how}`);
    if (child.pid !== undefined && isReady(child.pid)) return child.pid;
    if (performance.now() > deadline || signal.aborted) {
      child.kill("SIGTERM");
      signal.throwIfAborted();
      throw TalkError.unreachable("its lookup server", `the agent has no name after ${START_LIMIT_MS / 1000} s`);
    }
    await sleep(LOOK_EVERY_MS);
  }
}

/** The agent did not begin; it has said why. */
export class AgentFailed extends Error {
  override readonly name = "AgentFailed";
  /** What it ended with; null where a signal ended it. */
  readonly status: number | null;
  constructor(status: number | null, reason: string) {
    super(reason);
    this.status = status;
  }
}
