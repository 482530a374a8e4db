// The contract of a directory, on one that many servers can share.
import { describe } from "vitest";
import { directoryConformance } from "../conformance.ts";
import { onMemoryEngine } from "./support/etcd-world.ts";

for (const implementation of [
  onMemoryEngine("on an engine", { unknown: 0, delayMs: 0 }),
  onMemoryEngine("on an engine that does not always answer", { unknown: 0.1, delayMs: 1, patienceMs: 3, lateMs: 6 }),
]) {
  describe(`a directory ${implementation.name}`, () => directoryConformance(implementation));
}
