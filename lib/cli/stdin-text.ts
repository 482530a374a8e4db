// The whole of stdin as one text: bounded, checked to be UTF-8, without the newline that ends it.
import { TalkError } from "../base/errors.ts";
import { decode } from "./line-reader.ts";

/** Longest message in bytes of UTF-8. */
export const MESSAGE_BYTES_LIMIT = 65_536;

/** @throws TalkError too-long (more is not read), bad-data */
export async function readText(input: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of input) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MESSAGE_BYTES_LIMIT + 2) break; // two bytes for CR LF at the end
  }
  const text = decode(Buffer.concat(chunks));
  // Cut off within a character, a long text looks like bad UTF-8: its length is the truth.
  if (length > MESSAGE_BYTES_LIMIT + 2) {
    throw new TalkError("too-long", `the message has more than ${MESSAGE_BYTES_LIMIT} bytes, which is the limit`);
  }
  if (text instanceof TalkError) throw text;
  return text.replace(/\r?\n$/, "");
}
