// What stands under each command's help: examples, and the exit statuses that this command has. Every status is in ptalk(1).
import type { Command } from "commander";
import { operands } from "./commands.ts";

interface Help {
  /** Command lines, each with what it does. */
  readonly examples: readonly (readonly [line: string, what: string])[];
  /** Beside 0 (done), 64 (usage), 70 (internal error). */
  readonly statuses: readonly number[];
}

const MEANING: Readonly<Record<number, string>> = {
  0: "done",
  64: "usage, or a bad setting",
  65: "a name or text that cannot be",
  67: "no such user or process",
  69: "no server, or something is missing here",
  70: "internal error",
  73: "the name is taken",
  75: "not done in time: try again",
  76: "unconfirmed: it may have arrived",
  77: "refused",
};

const SERVER = [69, 73, 77];

const HELP: Readonly<Record<string, Help>> = {
  talk: {
    examples: [
      ["ptalk bob", "talk to bob"],
      ["ptalk --as alice", "be on as alice"],
      ["ptalk --json", "events for a program, one a line"],
    ],
    statuses: [65, ...SERVER],
  },
  serve: {
    examples: [
      ["ptalk serve", "for this host"],
      ["ptalk serve --listen 0.0.0.0:5518 --tls", "for other hosts, too"],
    ],
    statuses: [65, 69, 77],
  },
  admin: {
    examples: [
      ["ptalk admin clients", "who is connected, from where"],
      ["ptalk admin kick bob", "close bob's client"],
      ["ptalk admin ban 1004 2h", "keep a user out"],
      ["ptalk admin drain", "before a restart"],
    ],
    statuses: [65, 67, 69, 75, 77],
  },
  all: { examples: [["ptalk all --json", "one JSON list"]], statuses: [69, 77] },
  list: { examples: [["ptalk list", "asks no server"]], statuses: [] },
  lookup: { examples: [["ptalk lookup bob", "where bob is"]], statuses: [65, 67, 69, 77] },
  send: {
    examples: [
      ['ptalk send bob "build done"', "one message"],
      ["make 2>&1 | tail | ptalk send bob,carol", "from stdin, to two"],
      ["ptalk send --timeout 1m bob hello", "wait longer"],
    ],
    statuses: [65, 67, 69, 73, 75, 76, 77],
  },
  recv: {
    examples: [
      ["ptalk recv --count 1", "wait for one message"],
      ["ptalk recv --json", "events for a program"],
    ],
    statuses: [65, 69, 73, 75, 77],
  },
  history: {
    examples: [
      ["ptalk history bob --since 2h", "what was said with bob"],
      ["ptalk history --follow", "and what is said from now on"],
    ],
    statuses: [65, 77],
  },
  agent: {
    examples: [
      ["ptalk agent start", "be on from now on"],
      ["ptalk agent status", "is it on?"],
    ],
    statuses: [...SERVER, 75],
  },
  unread: { examples: [["ptalk unread", "how many"]], statuses: [69] },
  wall: { examples: [['ptalk wall "reboot at 18:00"', "to everybody who is on"]], statuses: [65, 69, 75, 76, 77] },
  when: {
    examples: [
      ["ptalk when bob -- make -j8", "bob hears how make ended"],
      ["ptalk when 4711 bob", "when that process ends"],
    ],
    statuses: [65, 67, 69, 75, 76, 77],
  },
  ipc: {
    examples: [
      ["ptalk ipc", "live, and left behind"],
      ["ptalk ipc --clean", "remove the dead"],
    ],
    statuses: [69, 77],
  },
  top: { examples: [["ptalk top --once --json", "one look, for a program"]], statuses: [69, 77] },
  key: {
    examples: [
      ["ptalk key", "your fingerprint"],
      ["ptalk key forget bob", "after a change that was expected"],
      ["ptalk key rotate", "a new key, which the old one signs"],
      ["ptalk key claim", "bind your name, without being on"],
    ],
    statuses: [65, 67, 69, 73, 77],
  },
  completion: { examples: [['eval "$(ptalk completion bash)"', "in ~/.bashrc"]], statuses: [] },
  config: { examples: [["ptalk config --show-origin", "and where each comes from"]], statuses: [77] },
  doctor: { examples: [["ptalk doctor", "what is wrong here, and what to do"]], statuses: [69] },
};

/** The names of the commands that have examples. */
export const explained: readonly string[] = Object.keys(HELP);

export function addExamples(name: string, command: Command): void {
  const help = HELP[name];
  if (help === undefined) return;
  const width = Math.max(...help.examples.map(([line]) => line.length));
  const examples = help.examples.map(([line, what]) => `  ${line.padEnd(width)}  # ${what}`);
  const statuses = [0, ...help.statuses, 64, 70]
    .sort((a, b) => a - b)
    .map((status) => `  ${status}  ${MEANING[status]}`);
  command.addHelpText("after", ["", "Examples:", ...examples, "", "Exit status:", ...statuses.map(aligned)].join("\n"));
}

const aligned = (line: string): string => line.replace(/^ {2}0 /, "  0  ");

/** `help key forget` means `key forget --help`: of a command's own parts the framework's help knows nothing. */
export function withoutHelpWord(args: readonly string[]): readonly string[] {
  const [first, topic, part] = operands(args);
  if (first !== "help" || topic === undefined || part === undefined) return args;
  return [topic, part, "--help"];
}
