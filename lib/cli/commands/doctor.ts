// `ptalk doctor`: checks the environment and says what to do. Exit status 69 if something keeps ptalk from working.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { commandContext } from "../command-context.ts";
import type { Config } from "../config.ts";
import { type Finding, fail } from "../doctor/check.ts";
import { checkDirectory } from "../doctor/directory.ts";
import { checkLinks } from "../doctor/links.ts";
import { checkInterfaces, checkServers, checkService, checkUdp } from "../doctor/network.ts";
import { checkPaths, checkPeer } from "../doctor/paths.ts";
import {
  checkIpc,
  checkLimits,
  checkNode,
  checkProc,
  checkProtected,
  checkRemains,
  checkRemoveIpc,
  checkShm,
} from "../doctor/system.ts";
import { checkConfigFile, checkLocale, checkOwnName, checkStateDir, checkTerminal } from "../doctor/user.ts";
import { escapeControls } from "../escape-controls.ts";
import { EXIT } from "../exit-status.ts";
import { print, printJson } from "../output.ts";
import { type Colour, painter } from "../style.ts";

const HELP = `
Exit status 69: at least one check has failed, and ptalk cannot work until that is mended.`;

export function command(): Command {
  return new Command("doctor")
    .description("Checks this environment and says what to do; with PEER, each path to that user.")
    .argument("[peer]", "a user who is on")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(peer: string | undefined, _options: unknown, command: Command): Promise<void> {
  const { json } = command.optsWithGlobals<{ json?: boolean }>();
  const findings: Finding[] = [
    checkNode(),
    ...(await checkIpc()),
    checkShm(),
    checkRemains(),
    ...checkLimits(),
    checkProtected(),
    checkProc(),
    checkRemoveIpc(process.getuid?.() ?? 0),
    await checkService(),
    checkInterfaces(),
    await checkUdp(),
    checkLocale(process.env),
    checkTerminal(process.env),
    ...(await checkConfigured(command, peer)),
  ];
  if (json) await printJson(findings);
  else await print(findings.flatMap(lines).join("\n"));
  if (findings.some(({ state }) => state === "fail")) process.exitCode = EXIT.unavailable;
}

/** What the settings lead to; if they cannot be read, only that. @throws TalkError usage: a mistake in the command line */
async function checkConfigured(command: Command, peer: string | undefined): Promise<Finding[]> {
  let config: Config;
  try {
    ({ config } = await commandContext(command));
  } catch (error) {
    if (!(error instanceof TalkError) || !["bad-config", "refused"].includes(error.code)) throw error;
    return [
      fail("settings", error.message, "mend it and run ptalk doctor again: server and state folder depend on it"),
    ];
  }
  return [
    checkConfigFile(process.env),
    checkOwnName(config),
    ...(await checkServers(config)),
    ...(await checkLinks(config)),
    ...(await checkPaths(config)),
    ...(peer === undefined ? [] : await checkPeer(config, peer)),
    ...checkStateDir(config.stateDir),
    ...(await checkDirectory()),
  ];
}

const COLOURS: Readonly<Record<Finding["state"], Colour>> = { ok: "green", warn: "yellow", fail: "red" };

function lines({ name, state, detail, advice }: Finding): string[] {
  const paint = painter(process.stdout);
  const head = `${paint(COLOURS[state], state.padEnd(4))}  ${name}: ${escapeControls(detail)}`;
  return advice === null ? [head] : [head, `      ${paint("bold", "->")} ${escapeControls(advice)}`];
}
