// What `ptalk serve` asks before it shuts down, and the answers that count as yes. The prompts: tty-prompt.ts, stdin-prompt.ts.

/** Asked once, then released. */
export interface ConfirmPrompt {
  readonly atTerminal: boolean;
  print(text: string): void;
  /** The next line; null when there will be none. Everything else goes on meanwhile. */
  readLine(done: (line: string | null) => void): void;
  /** Ends the question, answered or not: `done` is not called any more. */
  release(): void;
}

export const isYes = (line: string | null): boolean => line !== null && /^\s*y(es)?\s*$/i.test(line);
