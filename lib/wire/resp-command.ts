// A client's half of RESP, outgoing: one request as an array of bulk strings.

export type RespArgument = string | number | Uint8Array;

/**
 * @param args the command's name and its arguments; numbers are written in decimal, bytes as they are
 * @returns the bytes of the request, ready to be written to the server's connection
 */
export function encodeCommand(args: readonly RespArgument[]): Buffer {
  if (args.some((arg) => typeof arg === "object")) return encodeBytes(args);
  let text = `*${args.length}\r\n`;
  for (const arg of args) {
    const value = String(arg);
    text += `$${Buffer.byteLength(value)}\r\n${value}\r\n`;
  }
  return Buffer.from(text, "utf8");
}

function encodeBytes(args: readonly RespArgument[]): Buffer {
  const parts = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = Buffer.from(typeof arg === "object" ? arg : String(arg));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n"));
  }
  return Buffer.concat(parts);
}
