// What an output says of a message that it has not begun to put out.

/** ConnectOptions.deliver rejects with it when nothing of the message was output: its sender may have it shown elsewhere. */
export class NotShown extends Error {
  override readonly name = "NotShown";

  constructor() {
    super("nothing of the message was output");
  }
}
