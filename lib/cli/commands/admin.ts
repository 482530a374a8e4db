// `ptalk admin`: what an administrator does to a server that runs.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { validateName } from "../../base/names.ts";
import type { AdminClient, Ban, ServerAdministration } from "../../client/administration.ts";
import { fingerprint } from "../../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../../crypto/signed-statements.ts";
import { banTarget, MAX_BAN_S } from "../../wire/admin.ts";
import { commandContext } from "../command-context.ts";
import { duration } from "../config-values.ts";
import { escapeControls } from "../escape-controls.ts";
import { fittedTable, table } from "../format.ts";
import { iso } from "../json.ts";
import { print, printJson } from "../output.ts";
import { painter } from "../style.ts";
import { shortTime, strftime, time } from "../times.ts";

const HELP = `
For root, the server's own user, and the users of its --admins, on the server's own host: the kernel tells the server who asks.`;

export function command(): Command {
  const admin = new Command("admin")
    .description("Shows who is connected to a server that runs, and removes clients, bans users and keys, frees names.")
    .usage("clients | kick <name> | free <name> | ban <uid|key> <time> | unban <uid|key> | bans | drain")
    .addHelpText("after", HELP)
    .allowExcessArguments()
    .action((_options: unknown, self: Command) => {
      const known = admin.commands.map((part) => part.name()).join(", ");
      const [word] = self.args;
      const what = word === undefined ? "admin does what?" : `admin has no ${JSON.stringify(word)}.`;
      throw TalkError.usage(`${what} There are ${known}`);
    });
  admin
    .command("clients")
    .summary("every connection: name, user, where from, since when")
    .action((_options: unknown, self: Command) => run(self, showClients));
  admin
    .command("kick")
    .summary("close the client of that name; it learns by whom, and does not come back by itself")
    .argument("<name>")
    .action((name: string, _options: unknown, self: Command) => {
      validateName(name);
      return run(self, (server, json) => kick(server, name, json));
    });
  admin
    .command("free")
    .summary("close the client of that name, and forget the owner of the name: the next client to register has it")
    .argument("<name>")
    .action((name: string, _options: unknown, self: Command) => {
      validateName(name);
      return run(self, (server, json) => free(server, name, json));
    });
  admin
    .command("ban")
    .summary("keep a user or a key out for a time: 90, 10m, 2h, 7d")
    .argument("<uid|key>", "a uid, or a key's fingerprint, SHA256:…")
    .argument("<time>")
    .action((whom: string, length: string, _options: unknown, self: Command) => {
      const [target, seconds] = [targetOf(whom), duration(MAX_BAN_S)(length, "the time of a ban")];
      return run(self, (server, json) => ban(server, target, seconds, json));
    });
  admin
    .command("unban")
    .summary("end a ban")
    .argument("<uid|key>")
    .action((whom: string, _options: unknown, self: Command) => {
      const target = targetOf(whom);
      return run(self, (server, json) => unban(server, target, json));
    });
  admin
    .command("bans")
    .summary("the users and keys that are kept out")
    .action((_options: unknown, self: Command) => run(self, showBans));
  admin
    .command("drain")
    .summary("end the server in order, before a restart: clients learn of it, and go to the next one")
    .action((_options: unknown, self: Command) => run(self, drain));
  for (const part of admin.commands)
    part.helpOption("-h, --help", "this help").configureHelp({ showGlobalOptions: true });
  return admin;
}

async function run(
  command: Command,
  use: (server: ServerAdministration, json: boolean) => Promise<void>,
): Promise<void> {
  const { config, json } = await commandContext(command);
  const { ServerAdministration } = await import("../../client/administration.ts");
  const { server, stateDir, insecure, ca } = config;
  await using administration = await ServerAdministration.connect({ server, stateDir, insecure, ca });
  await use(administration, json);
}

/** @throws TalkError usage */
function targetOf(text: string): string {
  const bytes = decodeBase64(text, KEY_BYTES);
  const target = bytes === null ? banTarget(text) : fingerprint(bytes);
  if (target !== null) return target;
  throw TalkError.usage(
    `${JSON.stringify(text)} is neither a uid (0 to 4294967294, in digits) nor a key (SHA256:…, as ptalk lookup shows it)`,
  );
}

async function showClients(server: ServerAdministration, json: boolean): Promise<void> {
  const clients = await server.clients();
  if (json) await printJson(clients.map(clientJson));
  else await print(clientLines(clients).join("\n"));
}

const clientJson = (client: AdminClient) => ({ ...client, since: iso(client.since) });

function clientLines(clients: readonly AdminClient[]): string[] {
  if (clients.length === 0) return ["nobody is connected"];
  const rows = [...clients]
    .sort((a, b) => a.since - b.since)
    .map(({ name, user, uid, address, transport, since, worker }) => [
      ...[name ?? "-", user ?? "-", uid === null ? "-" : String(uid), address ?? "-", transport],
      ...[shortTime(since), String(worker)],
    ]);
  return fittedTable(["NAME", "USER", "UID", "ADDRESS", "KIND", "SINCE", "WORKER"], rows, painter(process.stdout));
}

async function kick(server: ServerAdministration, name: string, json: boolean): Promise<void> {
  if (!(await server.kick(name))) throw TalkError.noSuchUser(name);
  if (json) await printJson({ type: "kick", name });
  else await print(`${escapeControls(name)} is removed from ${server.server}`);
}

async function free(server: ServerAdministration, name: string, json: boolean): Promise<void> {
  if (!(await server.free(name))) {
    throw new TalkError("no-such-user", `the name ${JSON.stringify(name)} belongs to no user of ${server.server}`);
  }
  if (json) await printJson({ type: "free", name });
  else await print(`the name ${escapeControls(name)} is free: the next client to register has it`);
}

async function ban(server: ServerAdministration, target: string, seconds: number, json: boolean): Promise<void> {
  const closed = await server.ban(target, seconds);
  const until = Date.now() + Math.ceil(seconds) * 1000;
  if (json) await printJson({ type: "ban", target, until: iso(until), closed });
  else {
    const connections = closed === 1 ? "1 connection is" : `${closed} connections are`;
    await print(`${nameOf(target)} is banned until ${time(until)}; ${connections} closed`);
  }
}

async function unban(server: ServerAdministration, target: string, json: boolean): Promise<void> {
  if (!(await server.unban(target))) throw new TalkError("no-such-user", `${nameOf(target)} is not banned`);
  if (json) await printJson({ type: "unban", target });
  else await print(`${nameOf(target)} is not banned any more`);
}

const nameOf = (target: string): string => (target.startsWith("SHA256:") ? target : `uid ${target}`);

async function showBans(server: ServerAdministration, json: boolean): Promise<void> {
  const bans = await server.bans();
  if (json) return printJson(bans.map((each: Ban) => ({ ...each, until: iso(each.until) })));
  if (bans.length === 0) return print("nobody is banned");
  const rows = bans.map(({ target, until, by }) => [target, strftime("%m-%d %H:%M", until), by]);
  await print(table(["UID OR KEY", "UNTIL", "BY"], rows, painter(process.stdout)).join("\n"));
}

async function drain(server: ServerAdministration, json: boolean): Promise<void> {
  const { told, ended } = await server.drain();
  await ended;
  if (json) await printJson({ type: "drain", told });
  else
    await print(`the server at ${server.server} has ended; ${told} ${told === 1 ? "client was" : "clients were"} told`);
}
