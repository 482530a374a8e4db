// What editors, converters and crashes do to a file of lines that a program takes byte for byte. Pure.
import { isUtf8 } from "node:buffer";

export interface TextFault {
  /** Counted from 1. */
  readonly line: number;
  /** A clause, with what to do: "it ends with a carriage return: …" */
  readonly reason: string;
}

const BYTE_ORDER_MARK = "\xef\xbb\xbf"; // U+FEFF as UTF-8, each byte one character (latin1)
// C0 and DEL without tab and newline, as bytes: none of them is a part of a longer UTF-8 sequence.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;

/** The first line that is not plain UTF-8 text ended by LF; null if each is. */
export function textFault(bytes: Uint8Array): TextFault | null {
  const text = asBytes(bytes);
  if (text.startsWith(BYTE_ORDER_MARK)) {
    return { line: 1, reason: "it begins with a byte order mark: save the file as UTF-8 without one" };
  }
  const control = CONTROL.exec(text);
  if (control === null) return utf8Fault(bytes);
  const line = lineAt(text, control.index);
  return control[0] === "\r"
    ? { line, reason: "it ends with a carriage return: save the file with the line ends of Unix (LF alone)" }
    : { line, reason: "it holds a control character" };
}

/** The first line that is not UTF-8, whatever else it holds; null if each is. */
export function utf8Fault(bytes: Uint8Array): TextFault | null {
  if (isUtf8(bytes)) return null;
  // No newline is a part of a longer sequence, so a line by itself is UTF-8 or not.
  const lines = asBytes(bytes).split("\n");
  const line = lines.findIndex((each) => !isUtf8(Buffer.from(each, "latin1"))) + 1;
  return { line, reason: "it is not UTF-8: convert the file (iconv -t UTF-8)" };
}

/** Each byte as one character. */
const asBytes = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

const lineAt = (text: string, index: number): number => text.slice(0, index).split("\n").length;
