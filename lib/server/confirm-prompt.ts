// What `ptalk serve` asks a question through: its terminal (tty-prompt.ts) or standard input (stdin-prompt.ts).

/** Asked once, then released. */
export interface ConfirmPrompt {
  readonly atTerminal: boolean;
  print(text: string): void;
  /** The next line; null when there will be none. Everything else goes on meanwhile. */
  readLine(done: (line: string | null) => void): void;
  /** Done with, answered or not: the callback is not called any more. */
  release(): void;
}

export const isYes = (line: string | null): boolean => line !== null && /^\s*y(es)?\s*$/i.test(line);
