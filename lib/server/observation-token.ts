// A token of HELLO: the client sends it from its chat socket (net/stun.ts), and the server knows whose socket it sees there. It takes
// the server's secret to make one; it counts at whichever socket of the server it arrives.
import { createHmac, timingSafeEqual } from "node:crypto";
import type { ConnectionPlace } from "../directory/directory.ts";

const PLACE_BYTES = 12;
const MAC_BYTES = 16;

/** @param secret the server's */
export function observationToken(secret: Buffer, { worker, connection }: ConnectionPlace): Buffer {
  const place = Buffer.alloc(PLACE_BYTES);
  place.writeUInt32BE(worker, 0);
  place.writeUIntBE(connection, 6, 6);
  return Buffer.concat([place, macOf(secret, place)]);
}

/** Whose connection it was made for; null when it is none of this server's. */
export function placeOfToken(secret: Buffer, token: Buffer): ConnectionPlace | null {
  if (token.length !== PLACE_BYTES + MAC_BYTES) return null;
  const place = token.subarray(0, PLACE_BYTES);
  if (!timingSafeEqual(macOf(secret, place), token.subarray(PLACE_BYTES))) return null;
  return { worker: place.readUInt32BE(0), connection: place.readUIntBE(6, 6) };
}

function macOf(secret: Buffer, place: Buffer): Buffer {
  return createHmac("sha256", secret).update("ptalk observation").update(place).digest().subarray(0, MAC_BYTES);
}
