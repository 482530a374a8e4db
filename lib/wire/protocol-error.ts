/**
 * The bytes of a connection are not RESP, or break one of its bounds. There is no way to find the next request or reply
 * behind them: whoever catches this answers (a server) and closes the connection.
 */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}
