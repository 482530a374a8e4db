// Reads the fixed records that the addon's threads and signal handlers write to a pipe.
import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";

/** Bytes read at once. Records are written whole and divide it, so a read never ends inside one. */
const READ_BYTES = 3 * 4096;

export class RecordPipe {
  readonly #socket: Socket;

  /** Owns the descriptor from here on. It does not keep the process alive until `hold`. */
  constructor(fd: number, recordBytes: number, onRecord: (words: Int32Array) => void) {
    const buffer = new Uint8Array(READ_BYTES);
    const deliver = (length: number): boolean => {
      // A copy: a callback may block long enough, or throw, and the next read must not find this one half done.
      const bytes = buffer.slice(0, length);
      for (let at = 0; at < length; at += recordBytes) {
        onRecord(new Int32Array(bytes.buffer, at, recordBytes / Int32Array.BYTES_PER_ELEMENT));
      }
      return true;
    };
    // `onread` because it lets us choose how much is read at once.
    const options: SocketConstructorOpts & { onread: OnReadOpts } = {
      fd,
      readable: true,
      writable: false,
      onread: { buffer, callback: deliver },
    };
    this.#socket = new Socket(options);
    this.#socket.unref();
  }

  /** Keeps the process alive until `release`. */
  hold(): void {
    this.#socket.ref();
  }

  release(): void {
    this.#socket.unref();
  }
}
