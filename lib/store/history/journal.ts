// The journal of messages, as this program writes it: one record a line, in a file of its own (line-journal.ts).
import { LineJournal } from "../line-journal.ts";
import { historyFolder } from "../state-paths.ts";
import { expireJournals, journalName } from "./folder.ts";
import { DEFAULT_HISTORY_DAYS, type HistoryRecord, historyJson } from "./record.ts";

export interface JournalOptions {
  readonly stateDir: string;
  /** Own name. */
  readonly name: string;
  /** Days that journals are kept. */
  readonly days?: number | undefined;
  /** Called once: something could not be written. */
  readonly onFailure: (error: Error) => void;
}

export class HistoryJournal {
  readonly #lines: LineJournal;

  constructor({ stateDir, name, days = DEFAULT_HISTORY_DAYS, onFailure }: JournalOptions) {
    const folder = historyFolder(stateDir);
    this.#lines = new LineJournal({
      folder,
      newFileName: () => journalName(name),
      expire: (except) => expireJournals(folder, { days, except }),
      onFailure,
    });
  }

  /** Never throws, and nobody waits for it. */
  add(record: HistoryRecord): void {
    this.#lines.add(JSON.stringify(historyJson(record)));
  }

  /** Fulfilled once the record is on the disk. @throws why it is not */
  addSynced(record: HistoryRecord): Promise<void> {
    return this.#lines.addSynced(JSON.stringify(historyJson(record)));
  }

  /** Fulfilled once everything added before can be read. */
  written(): Promise<void> {
    return this.#lines.written();
  }

  /** Writes and syncs what is left. */
  close(): Promise<void> {
    return this.#lines.close();
  }
}
