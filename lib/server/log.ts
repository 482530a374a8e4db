// The server's log: one line an event, on stderr, for people or with --json for machines. Keys, signatures and what people
// say to each other never get here: callers pass names, addresses, counts and errors.

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
}

export const silentLog: Log = { error() {}, warn() {}, info() {} };
