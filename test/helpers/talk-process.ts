// People and scripts as a test sees them: `ptalk` in processes of their own, each with the state folder it is given.

import { commandLine } from "./command.js";
import { Program, type ProgramEnd } from "./program.ts";

export interface Where {
  /** "HOST:PORT". */
  readonly server: string;
  /** Folder of key and known peers: the same folder is the same user. */
  readonly state: string;
}

const environment = ({ server, state }: Where): NodeJS.ProcessEnv => ({
  PTALK_SERVER: server,
  XDG_STATE_HOME: state,
  XDG_CONFIG_HOME: state,
});

/** Runs a command to its end. */
export async function ptalk(
  where: Where,
  args: readonly string[],
  input = "",
): Promise<ProgramEnd & { stdout: string[] }> {
  const program = new Program(...commandLine(args), { env: environment(where) });
  const stdout: string[] = [];
  const lines = (async () => {
    for (;;) stdout.push(await program.line());
  })().catch(() => {});
  if (input !== "") program.say(input);
  const end = await program.end();
  await lines;
  return { ...end, stdout };
}

export type Event = Record<string, unknown> & { type: string };

/** A client that speaks JSON: `ptalk talk --as NAME --json`, or another command with such events. */
export class Talker {
  readonly name: string;
  readonly program: Program;
  readonly #events: Event[] = [];

  private constructor(name: string, program: Program) {
    this.name = name;
    this.program = program;
  }

  static start(where: Where, name: string, args = ["talk", "--as", name]): Talker {
    return new Talker(name, new Program(...commandLine([...args, "--json"]), { env: environment(where) }));
  }

  /** Starts one and waits until it is registered. */
  static async on(where: Where, name: string, args?: string[]): Promise<Talker> {
    const talker = Talker.start(where, name, args);
    await talker.event("registered");
    return talker;
  }

  get pid(): number {
    return this.program.pid;
  }

  /** The next event of that type that fits; others stay for later. */
  async event(type: string, fits: (event: Event) => boolean = () => true): Promise<Event> {
    for (;;) {
      const at = this.#events.findIndex((event) => event.type === type && fits(event));
      if (at >= 0) return this.#events.splice(at, 1)[0] as Event;
      this.#events.push(JSON.parse(await this.program.line()) as Event);
    }
  }

  /** Events of that type that have been seen and not asked for. */
  seen(type: string): Event[] {
    return this.#events.filter((event) => event.type === type);
  }

  say(line: string): void {
    this.program.say(line);
  }

  /** Says a message and waits for what becomes of it: the delivered or failed event. */
  async tell(to: string, text: string): Promise<Event> {
    this.say(`${to} ${text}`);
    const { id } = await this.event("sent");
    for (;;) {
      const outcome = [...this.seen("delivered"), ...this.seen("failed")].find((event) => event.id === id);
      if (outcome) return outcome;
      this.#events.push(JSON.parse(await this.program.line()) as Event);
    }
  }

  async exit(): Promise<ProgramEnd> {
    this.say("Exit");
    return this.program.ended;
  }
}
