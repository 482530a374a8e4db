import type { Handler } from "../dispatch.ts";

/** INFO: what the primary knows of all workers. Sections in the arguments are accepted and not looked at. */
export const info: Handler = async (service, connection) => {
  const text = await service.askInfo();
  connection.write((out) => out.bulk(text));
};
