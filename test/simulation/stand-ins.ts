// What a simulated world puts in the place of the machine's: sockets, timers, clocks, randomness, and the disk's delays. Everything else
// of the programs in it is what is shipped. Imported before anything of lib/: libraries take some of these once.
import crypto from "node:crypto";
import type { Stats } from "node:fs";
import * as files from "node:fs";
import filePromises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import net from "node:net";
import os from "node:os";
import timerPromises from "node:timers/promises";
import sodium from "sodium-universal";
import { type Network, REFUSED_ERRNO, type UdpSocket } from "./network.ts";
import type { Process, Task, World } from "./world.ts";

let world: World;
let network: Network;

/** From now on all programs are in that world. */
export function enter(into: Network): void {
  network = into;
  world = into.world;
  sockets.length = 0;
}

function owner(): Process {
  if (world.current === null) throw new Error("no process runs");
  return world.current;
}

// Timers.

/** As Node's: it can be passed to clearTimeout(), and forgotten. */
class Timer {
  task: Task;
  constructor(task: Task) {
    this.task = task;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  hasRef(): boolean {
    return true;
  }
  refresh(): this {
    throw new Error("nothing of ptalk refreshes a timer");
  }
  [Symbol.dispose](): void {
    this.task.isOver = true;
  }
}

type Callback = (...args: unknown[]) => void;

/** Node's least, and whole ones: its loop looks at nothing finer. */
const wholeMs = (ms: unknown): number => Math.max(1, Math.trunc(Number(ms) || 1));

/**
 * All programs of a world share the module that looks at this machine's addresses, and its one timer, which would belong to the first of
 * them. The addresses do not change.
 */
const isAddressWatch = ({ name }: Callback): boolean => name === "look";

function standInTimers(): void {
  const setTimer = (callback: Callback, ms: unknown, ...args: unknown[]) =>
    new Timer(world.after(wholeMs(ms), owner(), () => callback(...args)));
  const setRepeated = (callback: Callback, ms: unknown, ...args: unknown[]) => {
    const [process, pause] = [owner(), wholeMs(ms)];
    const timer = new Timer(world.after(pause, process, () => again()));
    if (isAddressWatch(callback)) timer.task.isOver = true;
    const again = (): void => {
      timer.task = world.after(pause, process, again);
      callback(...args);
    };
    return timer;
  };
  const clear = (timer: Timer | undefined): void => {
    if (timer instanceof Timer) timer.task.isOver = true;
  };
  const soon = (callback: Callback, ...args: unknown[]) => new Timer(world.after(0, owner(), () => callback(...args)));
  Object.assign(globalThis, {
    ...{ setTimeout: setTimer, setInterval: setRepeated, setImmediate: soon },
    ...{ clearTimeout: clear, clearInterval: clear, clearImmediate: clear },
  });
  Object.assign(timerPromises, {
    setTimeout: (ms: unknown, value: unknown) => new Promise((resolve) => setTimer(() => resolve(value), ms)),
    setImmediate: (value: unknown) => new Promise((resolve) => soon(() => resolve(value))),
  });
  AbortSignal.timeout = (ms) => {
    const controller = new AbortController();
    setTimer(() => controller.abort(new DOMException("The operation timed out.", "TimeoutError")), ms);
    return controller.signal;
  };
  performance.now = () => world.now;
  Date.now = () => world.date;
}

// Randomness.

function fill(bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = world.inner.below(256);
}

function standInRandomness(): void {
  const randomBytes = (size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    fill(bytes);
    return bytes;
  };
  Math.random = () => world.inner.next();
  Object.assign(crypto, {
    randomBytes,
    randomUUID: () => randomBytes(16).toString("hex"),
    randomInt: (limit: number) => world.inner.below(limit),
  });
}

// noise-handshake makes its ephemeral keys so, and takes the function when it is loaded.
Object.assign(sodium, {
  crypto_kx_keypair(publicKey: Buffer, secretKey: Buffer) {
    fill(secretKey);
    sodium.crypto_scalarmult_base(publicKey, secretKey);
  },
});

// Sockets.

const sockets: UdpSocket[] = [];
const EADDRINUSE = 98;
const WORDS_BEFORE_ADDRESS = 2;

interface Reader {
  readonly bytes: Uint8Array;
  readonly meta: Int32Array;
  readonly callback: (count: number) => void;
  /** Addresses of the datagrams in `bytes`. */
  readonly from: string[];
}

interface UdpCalls {
  readonly udpBatch: number;
  readonly udpMetaWords: number;
  readonly udpErrorsCame: number;
}

/** The addon's calls that lib/net/datagram-socket.ts stands on. @param failure its error */
function standInDatagrams(native: UdpCalls & object, failure: (errno: number, call: string) => Error): void {
  const { udpBatch, udpMetaWords, udpErrorsCame } = native;
  const readers = new WeakMap<UdpSocket, Reader>();
  const socketOf = (fd: number): UdpSocket => sockets[fd] as UdpSocket;
  const read = (socket: UdpSocket): number => {
    const { bytes, meta, from } = readers.get(socket) as Reader;
    const slot = bytes.length / udpBatch;
    const some = socket.waiting.splice(0, udpBatch);
    for (const [i, datagram] of some.entries()) {
      const length = Math.min(datagram.bytes.length, slot);
      bytes.set(datagram.bytes.subarray(0, length), i * slot);
      const at = i * udpMetaWords;
      meta.fill(0, at, at + udpMetaWords);
      meta[at] = length;
      meta[at + 1] = datagram.port;
      for (const [word, part] of datagram.address.split(".").entries()) {
        meta[at + WORDS_BEFORE_ADDRESS + (word >> 1)] =
          ((meta[at + WORDS_BEFORE_ADDRESS + (word >> 1)] ?? 0) << 16) | Number(part);
      }
      from[i] = datagram.address;
    }
    return some.length;
  };
  const plain = (address: string): string => address.replace("::ffff:", "");
  Object.assign(native, {
    udpOpen(_address: string, port: number) {
      const socket = network.bind(port);
      if (socket === null) throw failure(EADDRINUSE, "bind");
      return sockets.push(socket) - 1;
    },
    udpPort: (fd: number) => socketOf(fd).port,
    udpReceive(fd: number, bytes: Uint8Array, meta: Int32Array, callback: (count: number) => void) {
      const socket = socketOf(fd);
      readers.set(socket, { bytes, meta, callback, from: [] });
      socket.onReadable = () => {
        if (socket.refused.length > 0) callback(udpErrorsCame);
        while (socket.waiting.length > 0 && readers.has(socket)) callback(read(socket));
      };
    },
    udpRead: (fd: number) => read(socketOf(fd)),
    udpSource: (fd: number, index: number) => readers.get(socketOf(fd))?.from[index] ?? "",
    udpErrors: (fd: number) =>
      socketOf(fd)
        .refused.splice(0)
        .flatMap(({ address, port }) => [REFUSED_ERRNO, port, address]),
    udpSend(fd: number, datagram: Uint8Array, address: string, port: number) {
      network.send(socketOf(fd), Buffer.from(datagram), plain(address), port);
      return 0;
    },
    udpSendMany(fd: number, bytes: Uint8Array, lengths: Int32Array, count: number, address: string, port: number) {
      let at = 0;
      for (let i = 0; i < count; i++) {
        const length = lengths[i] ?? 0;
        network.send(socketOf(fd), Buffer.from(bytes.subarray(at, at + length)), plain(address), port);
        at += length;
      }
      return 0;
    },
    udpClose(fd: number) {
      readers.delete(socketOf(fd));
      network.unbind(socketOf(fd));
    },
  });
}

function standInStreams(): void {
  Object.assign(net, { connect: ({ host, port }: { host: string; port: number }) => network.connect(host, port) });
  // A machine's addresses are those of its connections.
  Object.assign(os, { networkInterfaces: () => ({}) });
}

// Files: the disk's own, by calls that wait, each of them some time later. One that a killed program was about to make is not made.

const DISK_MS = 2;

function later<A extends unknown[], T>(call: (...args: A) => T): (...args: A) => Promise<T> {
  return (...args) =>
    new Promise((resolve, reject) => {
      world.after(world.inner.next() * DISK_MS, owner(), () => {
        try {
          resolve(call(...args));
        } catch (error) {
          reject(error);
        }
      });
    });
}

class OpenFile {
  readonly #fd: number;
  constructor(fd: number) {
    this.#fd = fd;
  }
  readonly stat = later((): Stats => files.fstatSync(this.#fd));
  readonly write = later((bytes: Uint8Array) => ({ bytesWritten: files.writeSync(this.#fd, bytes) }));
  // The world's machines do not lose their power.
  readonly sync = later((): void => {});
  readonly datasync = later((): void => {});
  readonly close = later(() => files.closeSync(this.#fd));
}

function standInFiles(): void {
  Object.assign(filePromises, {
    open: later((path: string, flags: number, mode?: number) => new OpenFile(files.openSync(path, flags, mode))),
    mkdir: later((path: string, options: { mode: number }) => files.mkdirSync(path, options)),
    readdir: later((path: string) => files.readdirSync(path)),
    readFile: later((path: string) => files.readFileSync(path)),
    stat: later((path: string) => files.statSync(path)),
    unlink: later((path: string) => files.unlinkSync(path)),
  });
  const { default: sync } = files as unknown as { default: Record<string, unknown> };
  Object.assign(sync, { fsyncSync() {}, fdatasyncSync() {} });
}

const EACCES = 13;

/** Puts everything in its place. @param native the addon, with the class of its errors */
export function standIn(native: UdpCalls & object, failure: (errno: number, call: string) => Error): void {
  standInTimers();
  standInRandomness();
  standInDatagrams(native, failure);
  standInStreams();
  standInFiles();
  // Clients of one machine are of no interest here; a machine without shared memory is none to ptalk's clients.
  Object.assign(native, {
    shmOpen() {
      throw failure(EACCES, "shm_open");
    },
  });
  // First contact with servers, and with their keys.
  process.emitWarning = () => {};
  syncBuiltinESMExports();
}
