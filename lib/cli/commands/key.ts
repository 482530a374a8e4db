// `ptalk key`: own fingerprint and the keys that were met; `ptalk key forget NAME` after a change that was expected.
import { createInterface } from "node:readline";
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { foldName, validateName } from "../../base/names.ts";
import { comparisonCode } from "../../crypto/comparison-code.ts";
import { fingerprint } from "../../crypto/fingerprint.ts";
import { loadOrCreateIdentity } from "../../crypto/identity.ts";
import { copyKey } from "../../crypto/key-file.ts";
import { PUBLIC_KEY_SUFFIX, writePublicKey } from "../../crypto/public-key-file.ts";
import { commandContext } from "../command-context.ts";
import { escapeControls } from "../escape-controls.ts";
import { table } from "../format.ts";
import { print, printJson } from "../output.ts";
import { painter } from "../style.ts";

export function command(): Command {
  const key = new Command("key")
    .description("Prints the own key's fingerprint and the keys of others that were met.")
    .usage("[options] | key forget|verify <name> | key rotate | key claim | key export|import <file>")
    .action(show);
  key
    .command("forget")
    .summary("forget the remembered key of a user or certificate of a server")
    .description(
      "Forgets the key remembered for NAME (on every server, or on that of --server), or a server's certificate and key.",
    )
    .argument("<name>", "a user's name, HOST:PORT of a server, or the id of a directory")
    .helpOption("-h, --help", "this help")
    .configureHelp({ showGlobalOptions: true })
    .action(forget);
  key
    .command("verify")
    .summary("show a short code to compare with NAME, and mark NAME's key as compared")
    .description(
      "Shows digits made of your key and NAME's, the same on both sides: compare them over the telephone, say. NAME is marked as verified.",
    )
    .argument("<name>", "a user's name")
    .action(verify);
  key
    .command("rotate")
    .summary("replace the own key by a new one, which the old one signs")
    .description(
      "Makes a new key. The old one signs it, so servers and partners follow. A key that somebody has stolen signs as well: tell your partners then.",
    )
    .action(async (...given: Parameters<Action>) => (await import("../key/rotate.ts")).rotate(...given));
  key
    .command("claim")
    .summary("bind the own name to the own key at the server, or to one from elsewhere")
    .description(
      "Binds your name to your key, without being on. With --key, on the server's host, the key in FILE may have your login name as well.",
    )
    .option("--key <file>", "public key of yours on another machine, from `ptalk key export FILE.pub` there")
    .action(async (...given: Parameters<Action>) => (await import("../key/claim.ts")).claim(...given));
  key
    .command("export")
    .summary("write the own key into FILE, for another machine")
    .description(
      "Writes your private key into FILE, which must not be there, with mode 0600: who has it is you. Into FILE.pub only the public key.",
    )
    .argument("<file>", "path of a new file")
    .action(exportKey);
  key
    .command("import")
    .summary("take the key in FILE as the own one")
    .description("Takes the key that `ptalk key export` has written. A key that is there already is never replaced.")
    .argument("<file>", "path of the file")
    .action(importKey);
  for (const part of key.commands) {
    part.helpOption("-h, --help", "this help").configureHelp({ showGlobalOptions: true });
  }
  return key;
}

type Action = (options: object, command: Command) => Promise<void>;

async function verify(name: string, _options: unknown, command: Command): Promise<void> {
  validateName(name);
  const { config, json } = await commandContext(command);
  const { KnownPeers } = await import("../../store/known-peers.ts");
  const { keyFile } = await import("../../store/state-paths.ts");
  const own = loadOrCreateIdentity(keyFile(config.stateDir)).publicKey;
  const peers = new KnownPeers(config.stateDir);
  const isAsked = command.optsWithGlobals().server !== undefined;
  const isAtOne = (peer: ReturnType<typeof peers.list>[number]): boolean =>
    config.server.split(",").some((server) => peers.isAt(peer, server));
  const found = peers.list().filter((peer) => peer.name === foldName(name) && (!isAsked || isAtOne(peer)));
  // The one at a server that is used; else those that there are.
  const here = found.filter(isAtOne);
  const chosen = here.length > 0 ? here : found;
  if (chosen.length === 0) {
    throw new TalkError("no-such-user", `nothing is remembered of ${JSON.stringify(name)}: write to each other first`);
  }
  for (const peer of chosen) {
    const code = comparisonCode(own, Buffer.from(peers.keyOf(peer) ?? "", "base64"));
    const { server, fingerprint, directory } = peer;
    if (!json) await print([`${code}`, `${peer.name} on ${server}: ${fingerprint}`].join("\n"));
    const verified = json || (await isSame(peer.name));
    if (verified) peers.markVerified(peer);
    if (json) await printJson({ name: peer.name, server, fingerprint, code, verified, directory });
    else if (verified) await print(`${peer.name} is marked as verified`);
    else throw TalkError.refused(`${peer.name} is not verified: if the codes differ, somebody may stand between you`);
  }
}

/** A person is asked; a script has decided. */
async function isSame(name: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return true;
  const prompt = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const question = `Does \`ptalk key verify\` show ${escapeControls(name)} the same digits? [y/N] `;
    return /^y(es)?$/i.test((await new Promise<string>((answer) => prompt.question(question, answer))).trim());
  } finally {
    prompt.close();
  }
}

async function exportKey(file: string, _options: unknown, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const { keyFile } = await import("../../store/state-paths.ts");
  const { fingerprint, publicKey } = loadOrCreateIdentity(keyFile(config.stateDir));
  const isPublic = file.endsWith(PUBLIC_KEY_SUFFIX);
  if (isPublic) writePublicKey(file, publicKey.toString("base64"));
  else copyKey(keyFile(config.stateDir), file);
  if (json) await printJson({ fingerprint, file });
  else if (isPublic) await print(`wrote the public key ${fingerprint} to ${escapeControls(file)}`);
  else await print(`wrote the key ${fingerprint} to ${escapeControls(file)}: who has this file is you`);
}

async function importKey(file: string, _options: unknown, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const { ensureStateDir, keyFile } = await import("../../store/state-paths.ts");
  ensureStateDir(config.stateDir);
  copyKey(file, keyFile(config.stateDir));
  const { fingerprint } = loadOrCreateIdentity(keyFile(config.stateDir));
  if (json) await printJson({ fingerprint, file: keyFile(config.stateDir) });
  else await print(`your key is ${fingerprint}`);
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
    const rows = peers.map(({ name, server, fingerprint, verified }) => [
      ...[name, server, fingerprint],
      verified ? "verified" : "",
    ]);
    lines.push("", ...table(["NAME", "SERVER", "FINGERPRINT", ""], rows, paint));
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
  const { KnownDirectories } = await import("../../store/known-directories.ts");
  const isAsked = config.serverConfigured && command.optsWithGlobals().server !== undefined;
  const known = new KnownPeers(config.stateDir);
  const peers = isAsked ? config.server.split(",").flatMap((server) => known.forget(name, server)) : known.forget(name);
  const hadCertificate = new KnownServers(config.stateDir).forget(name);
  const hadDirectory = new KnownDirectories(config.stateDir).forget(name);
  const servers = hadCertificate || hadDirectory ? [name] : [];
  if (peers.length + servers.length === 0) {
    throw new TalkError("no-such-user", `nothing is remembered of ${JSON.stringify(name)}; see ptalk key`);
  }
  if (json) return printJson({ peers, servers });
  const lines = peers.map((peer) => `forgot ${peer.name} on ${peer.server}: ${peer.fingerprint}`);
  await print(
    [...lines, ...servers.map((server) => `forgot the ${hadCertificate ? "certificate" : "key"} of ${server}`)].join(
      "\n",
    ),
  );
}
