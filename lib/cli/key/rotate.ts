// `ptalk key rotate`: a new key, which the old one signs. Servers and partners follow the signature when they meet the new key.
import type { Command } from "commander";
import { listLocal } from "../../presence/local-list.ts";
import { rotateKey } from "../../store/own-keys.ts";
import { keyFile } from "../../store/state-paths.ts";
import { commandContext } from "../command-context.ts";
import { escapeControls } from "../escape-controls.ts";
import { note, print, printJson } from "../output.ts";

export async function rotate(_options: unknown, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const { before, after } = rotateKey(config.stateDir);
  const uid = process.geteuid?.();
  const running = listLocal().filter((entry) => entry.uid === uid && entry.pid !== process.pid);
  const names = [...new Set(running.map(({ name }) => name))];
  if (json) {
    await printJson({
      fingerprint: after.fingerprint,
      before: before.fingerprint,
      file: keyFile(config.stateDir),
      running: names,
    });
    return;
  }
  await print(
    [
      `your key is ${after.fingerprint} now; it was ${before.fingerprint}`,
      "servers and partners follow when you are on or send next; those who had compared your key compare the new one",
    ].join("\n"),
  );
  if (names.length === 0) return;
  note(`what you run as ${names.map(escapeControls).join(", ")} has the old key until it is started again`);
}
