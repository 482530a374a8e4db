// Growth: what a registration, a visit and a restart cost among few and among many. The first table is of connections that speak
// the protocol and no more, the second of clients as programs use them. Takes about five minutes.

import { raiseDescriptors } from "./growth/descriptors.js";
import { writePlot } from "./growth/plot.js";
import { rawConnections } from "./growth/raw.js";
import { storm } from "./growth/storm.js";
import { talkClients } from "./growth/talk.js";

export async function run(report) {
  raiseDescriptors();
  const points = await rawConnections(report);
  writePlot(points);
  await storm(report);
  await talkClients(report);
}
