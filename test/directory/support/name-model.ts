// One name of a directory, as the contract has it: which key it is bound to, which row is there, and what each operation does. Written
// from the contract and the protocol's pages, not from lib: an opinion of its own.

export interface ModelRow {
  readonly key: string;
  readonly claimId: string;
  readonly worker: number;
}

export interface NameState {
  readonly owner: string | null;
  readonly row: ModelRow | null;
}

export const FREE: NameState = { owner: null, row: null };

export interface ModelRequest extends ModelRow {
  readonly takeover: string | null;
  readonly replace: boolean;
}

export type Registration =
  /** `replaced`: the claim id of the live registration that had the name. */
  | { readonly outcome: "done"; readonly replaced: string | null; readonly state: NameState; readonly isNew: boolean }
  | { readonly outcome: "taken" };

export function register(state: NameState, request: ModelRequest, isLive: (worker: number) => boolean): Registration {
  const { owner, row } = state;
  const { key, claimId, worker, takeover, replace } = request;
  if (owner !== null && owner !== key) return { outcome: "taken" };
  const after = { owner: key, row: { key, claimId, worker } };
  if (row === null) return { outcome: "done", replaced: null, state: after, isNew: true };
  if (row.key !== key) return { outcome: "taken" };
  if (row.claimId === claimId) return { outcome: "done", replaced: null, state, isNew: false };
  if (!isLive(row.worker)) return { outcome: "done", replaced: null, state: after, isNew: true };
  if (!replace && takeover !== row.claimId) return { outcome: "taken" };
  return { outcome: "done", replaced: row.claimId, state: after, isNew: true };
}

/** Whether the claim has the row. */
export function holds({ row }: NameState, claimId: string): boolean {
  return row?.claimId === claimId;
}

export function remove(state: NameState, claimId: string): NameState {
  return holds(state, claimId) ? { ...state, row: null } : state;
}

/** @returns null if another key has the name */
export function bind(state: NameState, key: string): NameState | null {
  if (state.owner === null && state.row === null) return { ...state, owner: key };
  return (state.owner ?? state.row?.key) === key ? { ...state, owner: key } : null;
}
