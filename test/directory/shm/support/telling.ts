// Rows of the writer fixture (test/fixtures/table/writer.js): every field says the same number, so two halves of different rows
// show at once.
import type { DirectoryEntry } from "../../../../lib/directory/entry.ts";
import type { StoredEntry } from "../../../../lib/directory/shm/stored-entry.ts";

/** Whether all fields of the entry say the number that is its start time. */
export function isOneEntry(entry: DirectoryEntry): boolean {
  const i = entry.startedAt;
  const says = (text: string) => text.startsWith(`h${i}`) && text.replaceAll(`h${i}`, "") === "";
  const [endpoint, further] = entry.endpoints;
  return (
    entry.key === Buffer.alloc(32, i).toString("base64") &&
    endpoint?.address === `10.${i}.${i}.${i}` &&
    endpoint.port === i + 1 &&
    further === undefined &&
    says(entry.host) &&
    entry.uid === i &&
    entry.status.since === i &&
    (entry.status.text === "" || says(entry.status.text)) &&
    (entry.rooms.length === 0 || entry.rooms.every((room) => room === `#r${i}`))
  );
}

/** The same for the whole row. */
export function saysOneNumber({ entry, claimId, place }: StoredEntry): boolean {
  const i = entry.startedAt;
  const isPlaced = place.worker === i && place.connection === i;
  return isOneEntry(entry) && isPlaced && claimId === Buffer.alloc(12, i).toString("base64");
}
