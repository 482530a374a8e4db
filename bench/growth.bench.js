// Growth: what a registration, a visit and a restart cost among few and among many. The first table is of connections that speak
// the protocol and no more, the second of clients as programs use them. Takes two or three minutes.
import { raiseDescriptors } from "./growth/descriptors.js";
import { writePlot } from "./growth/plot.js";
import { rawConnections } from "./growth/raw.js";
import { storm } from "./growth/storm.js";
import { talkClients } from "./growth/talk.js";

export async function run(report) {
  raiseDescriptors();
  writePlot(await rawConnections(report));
  await storm(report);
  await talkClients(report);
}
