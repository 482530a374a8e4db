// The contract of a directory, on each implementation.
import { afterAll, describe, expect } from "vitest";
import { directoryConformance } from "./conformance.ts";
import { memory, sharedMemory, uncertain, unknownWrites } from "./support/world.ts";

for (const implementation of [memory, sharedMemory, uncertain]) {
  describe(`a directory ${implementation.name}`, () => directoryConformance(implementation));
}

afterAll(() => {
  // Otherwise the third one has shown nothing that the first two had not.
  const { all, made } = unknownWrites;
  console.log(`${all} writes ended as unknown, ${made} of them had changed the directory`);
  expect(made).toBeGreaterThan(100);
  expect(all - made).toBeGreaterThan(100);
});
