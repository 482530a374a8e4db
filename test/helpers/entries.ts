// Entries of the directory as tests need them: of a client with a key of its own, at a port.
import { Identity } from "../../lib/crypto/identity.ts";
import { DirectoryEntry, type NewEntry, packEntry } from "../../lib/directory/entry.ts";

export function entryOf(name: string, port = 4000, fields: Partial<NewEntry> = {}): DirectoryEntry {
  const key = Identity.generate().publicKey.toString("base64");
  const endpoints = [{ address: "127.0.0.1", port, kind: "host" as const }];
  return new DirectoryEntry(packEntry({ name, key, endpoints, host: "", startedAt: 1, ...fields }));
}
