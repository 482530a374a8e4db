import type { Handler } from "../handler.ts";

/** INFO: what the primary knows of all workers. Sections in the arguments are accepted and not looked at. */
export const info: Handler = async (context, connection) => {
  const text = await context.askInfo();
  connection.write((out) => out.bulk(text));
};
