// STATUS: whether somebody looks at a client, a field of its entry. Watchers get it with the entry, in a `changed` push.
import { CommandError, parseStatus } from "../../wire/commands.ts";
import type { Handler } from "../handler.ts";

/** The same status again changes nothing, not even its time. */
export const status: Handler = async (context, connection, args) => {
  const { state, text } = parseStatus(args);
  const { client } = connection;
  const row = client === null ? null : await context.directory.own(client.claim);
  if (client === null || row === null) throw new CommandError("NOAUTH only a registered client has a status");
  const before = row.entry.status;
  if (before.state !== state || before.text !== text) {
    const claim = await context.directory.update(client.claim, { status: { state, text, since: Date.now() } });
    // The connection may have ended meanwhile: its client has been taken out by the claim's id.
    if (connection.client === client) connection.client = { ...client, claim };
  }
  connection.write((out) => out.simple("OK"));
};
