// One finding about the environment, and what to do about it.

export interface Finding {
  readonly name: string;
  /** "fail": ptalk cannot work like this; "warn": something will not work, or not for long. */
  readonly state: "ok" | "warn" | "fail";
  readonly detail: string;
  /** What to do, if not ok. */
  readonly advice: string | null;
}

export const ok = (name: string, detail: string): Finding => ({ name, state: "ok", detail, advice: null });
export const warn = (name: string, detail: string, advice: string): Finding => ({
  name,
  state: "warn",
  detail,
  advice,
});
export const fail = (name: string, detail: string, advice: string): Finding => ({
  name,
  state: "fail",
  detail,
  advice,
});

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
