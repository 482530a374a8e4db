// One lock, its data and its cast: made for one test, taken away after it whatever happened.
import { expect } from "vitest";
import { ReadersWriterLock, SharedMemory } from "../../lib/ipc/index.ts";
import { LockParticipant } from "./lock-participant.ts";
import { ObjectNames } from "./object-names.ts";

const DATA_BYTES = 64;

export class LockStage {
  readonly names: ObjectNames;
  readonly name: string;
  readonly dataName: string;
  readonly data: SharedMemory;
  readonly cast: LockParticipant[] = [];

  constructor(what: string) {
    this.names = new ObjectNames(`lock-${what}`);
    this.name = this.names.fresh();
    this.dataName = `${this.name}-data`;
    this.data = SharedMemory.create(this.dataName, { size: DATA_BYTES });
  }

  /** A process that has not opened the lock yet. */
  spawn(): LockParticipant {
    const participant = new LockParticipant(this.name, this.dataName);
    this.cast.push(participant);
    return participant;
  }

  /** A process that takes part (the first one creates the lock). */
  async join(options: { mended?: boolean } = {}): Promise<LockParticipant> {
    const participant = this.spawn();
    await participant.run("open", { how: "openOrCreate", ...options });
    return participant;
  }

  get counters(): [number, number] {
    const words = new Int32Array(this.data.buffer);
    return [Atomics.load(words, 0), Atomics.load(words, 1)];
  }

  /** Survivors and a newcomer all get in, one after the other, as writers and as readers, and find whole data. */
  async expectGoesOn(survivors: readonly LockParticipant[]): Promise<void> {
    for (const participant of [...survivors, await this.join()]) {
      const before = await participant.run<[number, number]>("write");
      expect(before[0]).toBe(before[1]);
      const read = await participant.run<[number, number]>("read");
      expect(read).toEqual([before[0] + 1, before[0] + 1]);
    }
  }

  /** Ends everyone and removes everything; fails when the lock leaves a file behind. */
  async strike(): Promise<void> {
    for (const participant of this.cast) participant.child.kill("SIGKILL");
    await Promise.all(this.cast.map((participant) => participant.ended));
    this.data.close();
    this.data.unlink();
    try {
      ReadersWriterLock.unlink(this.name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    const left = this.names.files();
    this.names.sweep();
    expect(left).toEqual([]);
  }
}
