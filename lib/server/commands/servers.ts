// SERVERS: the other servers of the directory, where servers share one. A client goes on at one of them when its own dies: their certificates
// and keys are those that the directory states. With LINKS: whether this server reaches each of them, for `ptalk doctor`.
import { CommandError } from "../../wire/commands.ts";
import type { Handler } from "../handler.ts";

export const servers: Handler = async (context, connection, [option]) => {
  if (option !== undefined && option.toUpperCase() !== "LINKS") throw CommandError.syntax("SERVERS [LINKS]");
  const rows = await context.askServers(option !== undefined);
  connection.write((out) => {
    out.array(rows.length);
    for (const row of rows) {
      out.array(row.length);
      for (const word of row) {
        if (word === null) out.null(connection.protocol);
        else out.bulk(word);
      }
    }
  });
};
