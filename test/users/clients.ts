// Clients of one user in one program, and what they have said.
import { join } from "node:path";
import type { User, UserProgram } from "./world.ts";

export const FIXTURES = join(import.meta.dirname, "fixtures");

export interface Said {
  readonly name: string;
  readonly event: string;
  readonly at: number;
}

export const said = (program: UserProgram): Said[] => program.lines.map((line) => JSON.parse(line) as Said);

/** Starts clients of that user, and waits until all are on. */
export async function clients(user: User, names: readonly string[]): Promise<UserProgram> {
  const program = user.node(join(FIXTURES, "clients.js"), join(user.home, "clients"), ...names);
  await program.until(`${names.length} clients of ${user.name} to be on`, () => {
    const failed = said(program).find(({ event }) => event === "error");
    if (failed !== undefined) throw new Error(`${user.name}: ${JSON.stringify(failed)}`);
    return said(program).filter(({ event }) => event === "on").length === names.length;
  });
  return program;
}
