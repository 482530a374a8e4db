// The links between the servers of a shared directory, as the servers see them: each says which of the others it reaches.
import { TalkError } from "../../base/errors.ts";
import { formatServerAddress, parseServerList } from "../../base/server-address.ts";
import { ReplyError, type RespValue } from "../../wire/resp-reply.ts";
import { type Finding, ok, warn } from "./check.ts";
import { type ServerSettings, withGreeted } from "./network.ts";

/** For the greeting, and the server's own attempts: a handshake has 5 s there. */
const PATIENCE_MS = 8_000;
const CHECK = "links";
/** How the server's word for that begins or ends, see lookup-server.ts. */
const IS_OFF = /no --peer-listen$/;

/** Nothing for servers with a directory of their own; one that does not answer is found by checkServers(). */
export async function checkLinks(settings: ServerSettings): Promise<Finding[]> {
  const servers = parseServerList(settings.server).map(formatServerAddress);
  return (await Promise.all(servers.map((server) => linksOf({ ...settings, server })))).flat();
}

async function linksOf(settings: ServerSettings): Promise<Finding[]> {
  try {
    const rows = await withGreeted(settings, PATIENCE_MS, (connection) => connection.command("SERVERS", "LINKS"));
    return Array.isArray(rows) ? rows.flatMap((row) => finding(settings.server, row)) : [];
  } catch (error) {
    if (error instanceof TalkError || error instanceof ReplyError) return []; // away, or of an older version
    throw error;
  }
}

function finding(server: string, row: RespValue): Finding[] {
  const [name, reason] = Array.isArray(row) ? row : [];
  if (typeof name !== "string") return [];
  if (reason === null) return [ok(CHECK, `${server} passes on to ${name}`)];
  const detail = `${server} passes nothing on to ${name} (calls, relay, kept messages): ${reason}`;
  if (IS_OFF.test(String(reason))) return [warn(CHECK, detail, "serve with --peer-listen HOST:PORT at each of them")];
  return [
    warn(CHECK, detail, "open the port of that server's --peer-listen to the other servers; see the log of both"),
  ];
}
