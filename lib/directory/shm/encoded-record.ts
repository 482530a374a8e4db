// From a checked input to the words of a record. Works on a private image, never on the table: writer.ts stores it.
import { isIP } from "node:net";
import { TalkError } from "../../base/errors.ts";
import { validateName } from "../../base/names.ts";
import type { ClientInput } from "./stored-entry.ts";
import {
  FLAG_ASCII,
  KEY_BYTES,
  KEY_TEXT_BYTES,
  MAX_ADDRESS_BYTES,
  MAX_ADDRESSES,
  MAX_HOST_BYTES,
  MAX_TIME,
  TEXT_WORDS,
} from "./table-layout.ts";

const UINT32_MAX = 0xffff_ffff;

// What would leave the terminal or the line-based formats in another state, in a text that others will print.
const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const NOT_ASCII = /[^ -~]/; // control characters have been refused before
const BASE64_OF_KEY = /^[A-Za-z0-9+/]{43}=$/;

/** What of an input is packed into words, ready to be stored. The same object is used again by the next encode. */
export class EncodedRecord {
  readonly text = new Int32Array(TEXT_WORDS);
  textWords = 0;
  lengths = 0;
  port = 0;
  folded = "";
  readonly #bytes = Buffer.from(this.text.buffer);

  /**
   * Checks every field and packs the text.
   * @throws TalkError `bad-name`, or `bad-data` naming the field
   */
  encode(input: ClientInput): void {
    this.folded = validateName(input.name);
    const addresses = checkAddresses(input.addresses);
    checkKey(input.key);
    checkHost(input.host);
    checkInteger("port", input.port, 1, 0xffff);
    checkInteger("pid", input.pid, 0, UINT32_MAX >>> 1);
    checkInteger("startTime", input.startTime, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("startedAt", input.startedAt, 0, MAX_TIME);
    checkInteger("owner", input.owner, 0, UINT32_MAX);
    checkInteger("connection", input.connection, 0, UINT32_MAX);

    const bytes = this.#bytes;
    const foldLength = bytes.write(this.folded, 0);
    const packedAt = (foldLength + 3) & ~3;
    bytes.fill(0, foldLength, packedAt);
    const nameLength = bytes.write(input.name, packedAt);
    const keyAt = packedAt + nameLength;
    bytes.write(input.key, keyAt, "latin1");
    const hostAt = keyAt + KEY_TEXT_BYTES;
    const hostLength = bytes.write(input.host, hostAt);
    const addressesAt = hostAt + hostLength;
    const addressesLength = bytes.write(addresses, addressesAt, "latin1");
    const end = addressesAt + addressesLength;
    this.textWords = (end + 3) >> 2;
    bytes.fill(0, end, this.textWords * 4);
    this.lengths = foldLength | (nameLength << 8) | (hostLength << 16) | (addressesLength << 24);
    this.port = input.port | (NOT_ASCII.test(input.name) || NOT_ASCII.test(input.host) ? 0 : FLAG_ASCII);
  }
}

function checkInteger(field: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw TalkError.badData(`${field} must be an integer from ${least} to ${most}, not ${String(value)}`);
  }
}

function checkKey(key: string): void {
  // The round trip refuses the second spelling that base64 allows for the same bytes: one key, one text.
  if (typeof key === "string" && BASE64_OF_KEY.test(key) && Buffer.from(key, "base64").toString("base64") === key)
    return;
  throw TalkError.badData(`key must be the base64 text of ${KEY_BYTES} bytes (${KEY_TEXT_BYTES} characters)`);
}

function checkHost(host: string): void {
  if (typeof host !== "string") throw TalkError.badData("host must be a string");
  if (host.length > MAX_HOST_BYTES || Buffer.byteLength(host) > MAX_HOST_BYTES) {
    throw TalkError.badData(`host must have at most ${MAX_HOST_BYTES} bytes`);
  }
  if (CONTROL.test(host)) throw TalkError.badData("host must not contain control characters");
}

function checkAddresses(addresses: readonly string[]): string {
  if (!Array.isArray(addresses) || addresses.length < 1 || addresses.length > MAX_ADDRESSES) {
    throw TalkError.badData(`addresses must be a list of 1 to ${MAX_ADDRESSES}`);
  }
  for (const address of addresses) {
    // A zone ("%eth0") means something on its own machine only.
    if (typeof address !== "string" || isIP(address) === 0 || address.includes("%")) {
      throw TalkError.badData("an address must be an IPv4 or IPv6 address in numbers, without a zone");
    }
    if (address.length > MAX_ADDRESS_BYTES)
      throw TalkError.badData(`an address must have at most ${MAX_ADDRESS_BYTES} bytes`);
  }
  return addresses.join(",");
}
