// What a session knows of the counters that have arrived: what it refuses, and what its ACKs say.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { REPLAY_WINDOW, ReceivedCounters } from "../../lib/peer/secure-session.ts";
import { FrameWriter, MAX_ACK_WORDS, readFrames } from "../../lib/wire/datagram-frames.ts";

/** The counters that the next ACK reports, and the lowest one that it could; null when none is written. */
function nextAck(received: ReceivedCounters, limit = 1000): { counters: Set<number>; from: number } | null {
  const writer = new FrameWriter(Buffer.alloc(limit));
  writer.limit = limit;
  received.write(writer);
  const counters = new Set<number>();
  let from = -1;
  const unexpected = () => false;
  readFrames(writer.buffer.subarray(0, writer.length), {
    onAck: (largest, words, count) => {
      const block = largest >>> 5;
      from = (block - count + 1) * 32;
      for (let w = 0; w < count; w++) {
        for (let b = 0; b < 32; b++) if (((words[w] as number) & (1 << b)) !== 0) counters.add((block - w) * 32 + b);
      }
      return true;
    },
    onSettled: unexpected,
    onBase: unexpected,
    onFragment: unexpected,
    onParts: unexpected,
    onPing: unexpected,
    onClose: unexpected,
    onRevoke: unexpected,
    onRevoked: unexpected,
    onEnded: unexpected,
    onChallenge: unexpected,
    onProof: unexpected,
  });
  return from === -1 ? null : { counters, from };
}

describe("received counters", () => {
  it("accept each counter once, like a set would, within their width, and report what has arrived", () => {
    const near = fc.integer({ min: -1500, max: 40 });
    const jump = fc.integer({ min: 0, max: 5000 });
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 8, arbitrary: near }, { weight: 1, arbitrary: jump }), { maxLength: 300 }),
        (steps) => {
          const received = new ReceivedCounters();
          const seen = new Set<number>();
          let largest = -1;
          for (const step of steps) {
            const counter = Math.max(0, largest + step);
            const tooOld = counter <= largest - REPLAY_WINDOW;
            expect(received.isFresh(counter)).toBe(!seen.has(counter) && !tooOld);
            if (!received.isFresh(counter)) continue;
            received.mark(counter);
            seen.add(counter);
            largest = Math.max(largest, counter);
            expect(received.largest).toBe(largest);
          }
          const ack = nextAck(received);
          if (largest < 0) {
            expect(ack).toBeNull();
          } else {
            const from = Math.max(0, (largest >>> 5) - MAX_ACK_WORDS + 1) * 32;
            const reported = new Set([...seen].filter((counter) => counter >= from));
            expect(ack).toEqual({ counters: reported, from });
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it("report each arrival in four ACKs at least, and no more of the past than that takes", () => {
    const received = new ReceivedCounters();
    const reports = new Map<number, number>();
    for (let counter = 0; counter < 2000; counter++) {
      received.mark(counter);
      if (counter % 50 !== 49) continue;
      const { counters, from } = nextAck(received) as { counters: Set<number>; from: number };
      for (const reported of counters) reports.set(reported, (reports.get(reported) ?? 0) + 1);
      expect(counter - from).toBeLessThan(4 * 50 + 64);
    }
    for (let counter = 0; counter < 2000 - 4 * 50; counter++) expect(reports.get(counter)).toBeGreaterThanOrEqual(4);
  });

  it("fit an ACK into the room that there is, and take an arrival back", () => {
    const received = new ReceivedCounters();
    for (let counter = 0; counter < 100; counter++) received.mark(counter);
    received.unmark(99);
    expect(received.isFresh(99)).toBe(true);
    expect(nextAck(received, 6 + 4)?.counters).toEqual(new Set([96, 97, 98]));
    expect(nextAck(received, 6 + 3)).toBeNull();
  });
});
