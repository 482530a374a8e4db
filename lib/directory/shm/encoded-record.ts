// From a packed entry to the words of a record. Works on a private image, never on the table: table-writer.ts stores it.
import { foldName } from "../../base/names.ts";
import { KEY_TEXT_BYTES } from "../entry.ts";
import type { NewRow } from "./stored-entry.ts";
import { packLengths, TEXT_WORDS } from "./table-layout.ts";

/** The words of an entry, ready to be stored. The next encode uses the same memory. */
export class EncodedRecord {
  readonly text = new Int32Array(TEXT_WORDS);
  textWords = 0;
  lengths = 0;
  folded = "";
  readonly #bytes = Buffer.from(this.text.buffer);

  /** @param entry as packEntry() made it: its lengths are bounded */
  encode({ entry }: NewRow): void {
    const { name, key, details } = entry;
    this.folded = foldName(name);
    const bytes = this.#bytes;
    const foldLength = bytes.write(this.folded, 0);
    const packedAt = (foldLength + 3) & ~3;
    bytes.fill(0, foldLength, packedAt);
    const nameLength = bytes.write(name, packedAt);
    const keyAt = packedAt + nameLength;
    bytes.write(key, keyAt, "latin1");
    const detailsAt = keyAt + KEY_TEXT_BYTES;
    const detailsLength = bytes.write(details, detailsAt);
    const end = detailsAt + detailsLength;
    this.textWords = (end + 3) >> 2;
    bytes.fill(0, end, this.textWords * 4);
    // ASCII alone has one byte a character.
    const isAscii = nameLength === name.length && detailsLength === details.length;
    this.lengths = packLengths(foldLength, nameLength, detailsLength, isAscii);
  }
}
