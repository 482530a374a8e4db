// The end of a command that is no error to report: it was told to end, or its output has gone.

/** Thrown through the command; whoever throws it has said what there was to say. */
export class CommandEnded extends Error {
  override readonly name = "CommandEnded";
  readonly exitCode: number;
  constructor(what: string, exitCode: number) {
    super(what);
    this.exitCode = exitCode;
  }
}
