// `ptalk key`: own fingerprint and the keys that were met; `ptalk key forget NAME` after a change that was expected.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { fingerprint } from "../../crypto/fingerprint.ts";
import { loadOrCreateIdentity } from "../../crypto/identity.ts";
import { commandContext } from "../command-context.ts";
import { table } from "../format.ts";
import { print, printJson } from "../output.ts";
import { painter } from "../style.ts";

export function command(): Command {
  const key = new Command("key")
    .description("Prints the own key's fingerprint and the keys of others that were met.")
    .usage("[options] | key forget [options] <name>")
    .action(show);
  key
    .command("forget")
    .summary("forget the remembered key of a user or certificate of a server")
    .description(
      "Forgets the key remembered for NAME (on every server, or on that of --server), or a server's certificate.",
    )
    .argument("<name>", "a user's name, or HOST:PORT of a server")
    .helpOption("-h, --help", "this help")
    .configureHelp({ showGlobalOptions: true })
    .action(forget);
  return key;
}

async function show(_options: unknown, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const { KnownPeers, KnownServers } = await import("../../store/known-peers.ts");
  const { keyFile } = await import("../../store/state-paths.ts");
  const file = keyFile(config.stateDir);
  const own = fingerprint(loadOrCreateIdentity(file).publicKey);
  const peers = new KnownPeers(config.stateDir).list();
  const servers = new KnownServers(config.stateDir).list();
  if (json) return printJson({ fingerprint: own, file, peers, servers });
  const paint = painter(process.stdout);
  const lines = [`own key  ${own}  (${file})`];
  if (peers.length > 0) {
    const rows = peers.map(({ name, server, fingerprint }) => [name, server, fingerprint]);
    lines.push("", ...table(["NAME", "SERVER", "FINGERPRINT"], rows, paint));
  }
  if (servers.length > 0) {
    const rows = servers.map(({ server, certificate }) => [server, certificate]);
    lines.push("", ...table(["SERVER", "CERTIFICATE"], rows, paint));
  }
  await print(lines.join("\n"));
}

async function forget(name: string, _options: unknown, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const { KnownPeers, KnownServers } = await import("../../store/known-peers.ts");
  const onServer =
    config.serverConfigured && command.optsWithGlobals().server !== undefined ? config.server : undefined;
  const peers = new KnownPeers(config.stateDir).forget(name, onServer);
  const servers = new KnownServers(config.stateDir).forget(name) ? [name] : [];
  if (peers.length + servers.length === 0) {
    throw new TalkError("no-such-user", `nothing is remembered of ${JSON.stringify(name)}; see ptalk key`);
  }
  if (json) return printJson({ peers, servers });
  const lines = peers.map((peer) => `forgot ${peer.name} on ${peer.server}: ${peer.fingerprint}`);
  await print([...lines, ...servers.map((server) => `forgot the certificate of ${server}`)].join("\n"));
}
