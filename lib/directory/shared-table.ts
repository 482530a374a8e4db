// A table whose changes are decided elsewhere: by the engine that several servers share. Every process of the host reads it.
import type { ConnectionPlace, DirectoryEvent, DirectoryRow } from "./directory.ts";
import type { PackedEntry } from "./entry.ts";
import type { NameLine } from "./name-ownership.ts";

/** What becomes of a row or a name. */
export type TableChange =
  | { readonly kind: "row"; readonly entry: PackedEntry; readonly claimId: string; readonly place: ConnectionPlace }
  | { readonly kind: "gone"; readonly name: string }
  | { readonly kind: "owner"; readonly line: NameLine };

export interface SharedTable {
  readonly count: number;
  readonly capacity: number;
  /** @returns the event of each change; null where nothing has changed, or there was no room */
  apply(changes: readonly TableChange[]): Promise<readonly (DirectoryEvent | null)[]>;
  find(name: string): DirectoryRow | null;
}
