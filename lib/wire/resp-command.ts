// A client's half of RESP, outgoing: one request as an array of bulk strings.

/**
 * @param args the command's name and its arguments; numbers are written in decimal
 * @returns the bytes of the request, ready to be written to the server's connection
 */
export function encodeCommand(args: readonly (string | number)[]): Buffer {
  let text = `*${args.length}\r\n`;
  for (const arg of args) {
    const value = String(arg);
    text += `$${Buffer.byteLength(value)}\r\n${value}\r\n`;
  }
  return Buffer.from(text, "utf8");
}
