// The contract of a directory, on each implementation.
import { afterAll, describe, expect } from "vitest";
import { directoryConformance } from "./conformance.ts";
import { endProcesses, severalProcesses } from "./support/process-world.ts";
import { memory, sharedMemory, uncertain, unknownWrites } from "./support/world.ts";

for (const implementation of [memory, sharedMemory, severalProcesses, uncertain]) {
  describe(`a directory ${implementation.name}`, () => directoryConformance(implementation));
}

afterAll(endProcesses);
afterAll(() => {
  // Otherwise the third one has shown nothing that the first two had not.
  const { all, made } = unknownWrites;
  if (all === 0) return; // it was not asked for
  console.log(`${all} writes ended as unknown, ${made} of them had changed the directory`);
  expect(made).toBeGreaterThan(100);
  expect(all - made).toBeGreaterThan(100);
});
