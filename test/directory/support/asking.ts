// Asks a directory as its callers have to: with await, and again while the outcome is unknown.
import { expect } from "vitest";
import { foldName } from "../../../lib/base/names.ts";
import { isLaterVersion } from "../../../lib/directory/claim-rules.ts";
import type {
  Claim,
  Directory,
  DirectoryEvent,
  DirectoryRow,
  Registered,
  RegisterRequest,
} from "../../../lib/directory/directory.ts";
import { DirectoryError, type DirectoryErrorCode } from "../../../lib/directory/directory-error.ts";
import { DirectoryEntry, type NewEntry, packEntry } from "../../../lib/directory/entry.ts";
import { claimIdOf, fieldsOf, KEYS } from "./entries.ts";

/** Attempts at a write whose outcome is unknown: an implementation that needs more does not answer at all. */
const MAX_ATTEMPTS = 200;

export interface Answer<T> {
  readonly result: T;
  /** An earlier attempt may have done it. */
  readonly wasUnknown: boolean;
}

/** Repeats while the outcome is unknown. */
export async function known<T>(attempt: () => T | Promise<T>): Promise<Answer<T>> {
  for (let n = 0; n < MAX_ATTEMPTS; n++) {
    try {
      return { result: await attempt(), wasUnknown: n > 0 };
    } catch (error) {
      if (!(error instanceof DirectoryError && error.code === "try-again")) throw error;
    }
  }
  throw new Error(`unknown ${MAX_ATTEMPTS} times`);
}

export async function surely<T>(attempt: () => T | Promise<T>): Promise<T> {
  return (await known(attempt)).result;
}

/** What an operation is refused with. */
export async function refusal(attempt: () => unknown): Promise<DirectoryError> {
  try {
    await surely(attempt);
  } catch (error) {
    if (error instanceof DirectoryError) return error;
    throw error;
  }
  return expect.fail("it was not refused");
}

export async function expectRefused(code: DirectoryErrorCode, attempt: () => unknown): Promise<DirectoryError> {
  const error = await refusal(attempt);
  expect(error.code, error.message).toBe(code);
  return error;
}

let lastClaim = 0;
export const freshClaimId = () => claimIdOf(++lastClaim);

type Asking = Partial<RegisterRequest> & { readonly worker?: number; readonly fields?: Partial<NewEntry> };

/** A registration of this name with a claim id of its own; by the first key, at worker 1. */
export function requestOf(name: string, { worker = 1, fields = {}, ...changes }: Asking = {}): RegisterRequest {
  const claimId = freshClaimId();
  const entry = fieldsOf(name, lastClaim, { key: KEYS[0] as string, ...fields });
  return { entry, claimId, place: { worker, connection: lastClaim }, takeover: null, replace: false, ...changes };
}

/** A row as plain data. */
export function shown(row: DirectoryRow | null): Record<string, unknown> | null {
  return row && { ...row.entry.toJSON(), claimId: row.claimId, place: row.place };
}

/** The same of a registration that was asked for. */
export function asked({ entry, claimId, place }: RegisterRequest): Record<string, unknown> {
  return { ...new DirectoryEntry(packEntry(entry)).toJSON(), claimId, place };
}

export async function walk(directory: Directory, limit = 7): Promise<DirectoryRow[]> {
  const rows: DirectoryRow[] = [];
  let cursor = 0;
  do {
    const page = await directory.page(cursor, limit);
    expect(page.rows.length).toBeLessThanOrEqual(limit);
    rows.push(...page.rows);
    cursor = page.cursor;
  } while (cursor !== 0);
  return rows;
}

export const namesIn = (rows: readonly DirectoryRow[]) => rows.map(({ entry }) => entry.name).sort();

/** What a listener hears, and what it would show for each name. */
export class Hearing {
  readonly events: DirectoryEvent[] = [];
  readonly listener = (events: readonly DirectoryEvent[]): void => {
    this.events.push(...events);
  };

  of(name: string): DirectoryEvent[] {
    return this.events.filter((event) => foldName(event.name) === foldName(name));
  }

  /** Versions of one name never go back; an `off` has the version of its row. */
  expectOrder(): void {
    const last = new Map<string, DirectoryEvent>();
    for (const event of this.events) {
      const before = last.get(foldName(event.name));
      if (before !== undefined && isLaterVersion(before.version, event.version)) {
        expect.fail(`${event.name}: ${event.kind} ${event.version} after ${before.kind} ${before.version}`);
      }
      last.set(foldName(event.name), event);
    }
  }

  /** By folded name: version and entry of the rows that are there by the last event of each name. */
  get truth(): Map<string, unknown> {
    const rows = new Map<string, unknown>();
    for (const event of this.events) {
      if (event.kind === "off") rows.delete(foldName(event.name));
      else rows.set(foldName(event.name), { version: event.version, entry: event.entry });
    }
    return rows;
  }
}

export const truthOf = (rows: readonly DirectoryRow[]) =>
  new Map<string, unknown>(rows.map(({ entry, version }) => [foldName(entry.name), { version, entry: entry.packed }]));

export function enter(at: Directory, request: RegisterRequest): Promise<Registered> {
  return surely(() => at.register(request));
}

/** Whether this call, or an earlier attempt whose outcome was unknown, has removed the row. */
export async function removedOrUnknown(at: Directory, claim: Claim): Promise<boolean> {
  const { result, wasUnknown } = await known(() => at.remove(claim));
  return result || wasUnknown;
}
