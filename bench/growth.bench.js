// Growth: what a registration and a visit cost among few and among many.
import { raiseDescriptors } from "./growth/descriptors.js";
import { rawConnections } from "./growth/raw.js";

export async function run(report) {
  raiseDescriptors();
  await rawConnections(report);
}
