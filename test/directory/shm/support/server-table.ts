// Tables as a server has them: under the name, lock and socket by which Directory knows the live one.

import { fstatSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { newServerName } from "../../../../lib/directory/live-server.ts";
import { ClientTable } from "../../../../lib/directory/shm/client-table.ts";
import { SharedMemory } from "../../../../lib/ipc/shared-memory.ts";

/** A socket that listens, on all addresses. */
export class ListeningSocket implements Disposable {
  readonly port: number;
  readonly inode: number;
  readonly #server: Server;

  constructor() {
    this.#server = createServer().listen(0).unref();
    this.port = (this.#server.address() as { port: number }).port;
    this.inode = fstatSync((this.#server as unknown as { _handle: { fd: number } })._handle.fd).ino;
  }

  [Symbol.dispose](): void {
    this.#server.close();
  }
}

/** A table in which this process is the server. */
export class ServedTable implements Disposable {
  readonly table: ClientTable;
  readonly port: number;
  readonly #socket = new ListeningSocket();

  constructor(capacity: number) {
    this.port = this.#socket.port;
    this.table = ClientTable.create(newServerName(this.port), { capacity, listener: this.#socket.inode });
    this.table.claim();
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
    this.table.close();
    ClientTable.discard(this.table.name);
  }
}

/** Changes a segment's words behind everybody's back. */
export function raw(name: string, change: (words: Int32Array) => void): void {
  const shm = SharedMemory.open(name);
  change(new Int32Array(shm.buffer));
  shm.close();
}
