import { expect, it } from "vitest";
import type { DirectoryRecord } from "../../lib/client/directory-record.ts";
import { InFlight } from "../../lib/client/in-flight.ts";

const bobAt = (port: number, key = "AAAA") =>
  ({ name: "bob", key, addresses: ["192.0.2.1"], port }) as unknown as DirectoryRecord;

it("what is on its way to an old place follows the directory, also when the news comes with the next message", async () => {
  const moves: (number | undefined)[][] = [];
  const journeys = new InFlight({ move: (_key, from, to) => moves.push([from[0]?.port, to[0]?.port]) });
  let arrive = () => {};
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const there = bobAt(1);
  const underWay = journeys.to(there, () => arrived);
  await journeys.to(there, async () => {});
  expect(moves).toEqual([]);
  await journeys.to(bobAt(2), async () => {}); // asked for anew: nobody had announced it
  expect(moves).toEqual([[1, 2]]);
  journeys.follow(bobAt(3));
  await journeys.to(bobAt(4, "BBBB"), async () => {}); // another key is another program
  expect(moves).toEqual([
    [1, 2],
    [2, 3],
  ]);
  arrive();
  await underWay;
  journeys.follow(bobAt(5));
  expect([moves.length, journeys.names()]).toEqual([2, []]);
});
