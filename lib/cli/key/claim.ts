// `ptalk key claim`: binds the own name at the server of this host to the own key; with --key to that of another machine as well, which a login
// name of the server's host is kept from otherwise.
import type { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { seconds } from "../../base/seconds.ts";
import { fingerprint } from "../../crypto/fingerprint.ts";
import { loadOrCreateIdentity } from "../../crypto/identity.ts";
import { readPublicKey } from "../../crypto/public-key-file.ts";
import { keyFile } from "../../store/state-paths.ts";
import { commandContext, milliseconds, ownName } from "../command-context.ts";
import { escapeControls } from "../escape-controls.ts";
import { print, printJson } from "../output.ts";

const DEFAULT_TIMEOUT_MS = 10_000;

export async function claim({ key: file }: { readonly key?: string }, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const name = ownName(config);
  const also = file === undefined ? null : readPublicKey(file);
  const { claimName } = await import("../../client/claim-name.ts");
  const { server, stateDir, insecure, ca, timeout } = config;
  const timeoutMs = milliseconds(timeout) ?? DEFAULT_TIMEOUT_MS;
  const signal = AbortSignal.timeout(timeoutMs);
  const { attested } = await claimName({ name, server, stateDir, insecure, ca, also, signal }).catch(
    (error: unknown) => {
      throw signal.aborted ? TalkError.unreachable(server, `no answer within ${seconds(timeoutMs)}`, error) : error;
    },
  );
  const own = loadOrCreateIdentity(keyFile(stateDir)).fingerprint;
  const bound = also === null ? own : fingerprint(Buffer.from(also, "base64"));
  if (json) return printJson({ name, server, fingerprint: bound, attested });
  const how = also === null ? "belongs to your key" : "may be had from elsewhere with the key";
  await print(`${escapeControls(name)} ${how} ${bound} on ${server}`);
}
