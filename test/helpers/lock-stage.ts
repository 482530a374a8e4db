// One lock, its data and its cast: made for one test, taken away after it whatever happened.
import { afterAll, expect } from "vitest";
import { ReadersWriterLock, SharedMemory } from "../../lib/ipc/index.ts";
import { LockParticipant } from "./lock-participant.ts";
import { ObjectNames } from "./object-names.ts";

const DATA_BYTES = 64;

/** Processes that have done nothing but enter and leave, and have closed their lock: the next stage takes them. */
const idle: LockParticipant[] = [];
afterAll(() => Promise.all(idle.splice(0).map((participant) => participant.kill())));

export class LockStage {
  readonly names: ObjectNames;
  readonly name: string;
  readonly dataName: string;
  readonly data: SharedMemory;
  readonly cast: LockParticipant[] = [];
  /** Of them, those that have been in as both since whatever happened. */
  readonly #well = new Set<LockParticipant>();

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
    const participant = (await this.#idle()) ?? this.spawn();
    await participant.run("open", { how: "openOrCreate", ...options });
    return participant;
  }

  async #idle(): Promise<LockParticipant | undefined> {
    const participant = idle.pop();
    if (participant === undefined) return undefined;
    this.cast.push(participant);
    await participant.run("take", { name: this.name, dataName: this.dataName });
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
      this.#well.add(participant);
    }
  }

  /** Ends everyone and removes everything; fails when the lock leaves a file behind. */
  async strike(): Promise<void> {
    const kept = [...this.#well].filter((participant) => participant.isUndisturbed);
    await Promise.all(kept.map((participant) => participant.run("close")));
    idle.push(...kept);
    const gone = this.cast.filter((participant) => !kept.includes(participant));
    for (const participant of gone) participant.child.kill("SIGKILL");
    await Promise.all(gone.map((participant) => participant.ended));
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
