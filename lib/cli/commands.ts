// The commands: what each is for, and where it is. A command's module is loaded only when it runs, so that
// `ptalk send` does not pay for the others. A module knows its options; nobody else does.
import type { Command } from "commander";

export interface CommandModule {
  /** The command with its arguments, options and action. The action's promise is the command's life. */
  readonly command: () => Command;
}

interface CommandEntry {
  readonly usage: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

export const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  talk: { usage: "talk [PEER]", summary: "talk to people", load: () => import("./commands/talk.ts") },
  serve: {
    usage: "serve",
    summary: "run the lookup server in the foreground",
    load: () => import("./commands/serve.ts"),
  },
  admin: {
    usage: "admin clients|kick|free|ban|unban|bans|drain",
    summary: "administer a server that runs",
    load: () => import("./commands/admin.ts"),
  },
  all: { usage: "all", summary: "who is on", load: () => import("./commands/all.ts") },
  list: { usage: "list", summary: "who is on, on this machine", load: () => import("./commands/list.ts") },
  lookup: { usage: "lookup NAME", summary: "the address of one user", load: () => import("./commands/lookup.ts") },
  send: {
    usage: "send NAME[,NAME...] [TEXT...]",
    summary: "send one message and wait until it is delivered",
    load: () => import("./commands/send.ts"),
  },
  recv: { usage: "recv", summary: "print the messages that arrive", load: () => import("./commands/recv.ts") },
  history: {
    usage: "history [NAME]",
    summary: "print what was said",
    load: () => import("./commands/history.ts"),
  },
  agent: {
    usage: "agent [start|stop|status]",
    summary: "be on without a terminal",
    load: () => import("./commands/agent.ts"),
  },
  unread: {
    usage: "unread",
    summary: "how many messages wait with the agent",
    load: () => import("./commands/unread.ts"),
  },
  wall: {
    usage: "wall [--tty] TEXT...",
    summary: "write to everybody who is on",
    load: () => import("./commands/wall.ts"),
  },
  when: {
    usage: "when PID NAME [TEXT...] | when NAME -- COMMAND...",
    summary: "tell somebody that a program has ended",
    load: () => import("./commands/when.ts"),
  },
  ipc: { usage: "ipc", summary: "shared-memory objects: live or left behind", load: () => import("./commands/ipc.ts") },
  top: { usage: "top", summary: "workers, lock, signals and tables, live", load: () => import("./commands/top.ts") },
  key: { usage: "key", summary: "own fingerprint and known peers", load: () => import("./commands/key.ts") },
  completion: {
    usage: "completion bash|zsh|fish",
    summary: "a script that makes Tab complete",
    load: async () => (await import("./commands/completion.ts")).completion(COMMANDS),
  },
  config: { usage: "config", summary: "the settings that hold", load: () => import("./commands/config.ts") },
  doctor: {
    usage: "doctor [peer]",
    summary: "check this environment, and each path to a user",
    load: () => import("./commands/doctor.ts"),
  },
};

export const DEFAULT_COMMAND = "talk";

/** Program options that take a value, which must not be mistaken for the command. */
const WITH_VALUE = new Set(["--server", "--state-dir", "--as", "--color", "--port"]);

/** The operands of the command line: `ptalk --server h:1 send bob` has "send" and "bob". Options of commands take no values here. */
export function operands(args: readonly string[]): string[] {
  const found: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === "--") return [...found, ...args.slice(i + 1)];
    if (WITH_VALUE.has(arg)) i++;
    else if (!arg.startsWith("-")) found.push(arg);
  }
  return found;
}

/** The command that this word was meant to be: one letter too many, too few, wrong, or two exchanged. */
export function similarCommand(word: string): string | undefined {
  return Object.keys(COMMANDS).find((command) => isOneEditApart(word.toLowerCase(), command));
}

function isOneEditApart(a: string, b: string): boolean {
  if (a === b || Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  const [restOfA, restOfB] = [a.slice(start), b.slice(start)];
  if (restOfA.slice(1) === restOfB.slice(1) || restOfA.slice(1) === restOfB || restOfA === restOfB.slice(1))
    return true;
  return restOfA[0] === restOfB[1] && restOfA[1] === restOfB[0] && restOfA.slice(2) === restOfB.slice(2);
}
