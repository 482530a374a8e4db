// `ptalk serve`: the lookup server in the foreground. Its life is told in lib/server/main.ts.
import { Command, Option } from "commander";
import { TalkError } from "../../base/errors.ts";
import { systemCode } from "../../base/system-error.ts";
import type { ServerOptions } from "../../server/options.ts";
import { givenFlags } from "../command-context.ts";
import { loadBackgroundConfig, loadServeConfig } from "../config.ts";

const HELP = `
On SIGINT (Ctrl-C) it asks before it shuts down; SIGTERM shuts down at once. The log is on stderr; with --json one JSON
object a line. Addresses other than loopback need --tls (or a certificate) or --insecure.`;

/** A server that serves everybody takes nothing of the client that happened to start it, its umask neither. */
const BACKGROUND_UMASK = 0o022;

export function command(): Command {
  return new Command("serve")
    .description("Runs the lookup server in the foreground.")
    .option("--listen <host:port>", "where to listen; port 0 picks one (default: 127.0.0.1:5518)")
    .option("--socket <path>", "a Unix socket to listen at as well, or none (default: none)")
    .option("--workers <n>", "worker processes (default: one per core, at most 4)")
    .option("--capacity <n>", "clients that there is room for (default: 4096)")
    .option("--exit-when-empty", "exit when the last client has gone, or 60 s after starting alone")
    .option("--tls", "serve with TLS; without --tls-cert, with a certificate made once and kept")
    .option("--no-tls", "plain TCP, whatever is configured")
    .option("--tls-cert <file>", "certificate (PEM)")
    .option("--tls-key <file>", "its private key (PEM)")
    .option("--insecure", "plain TCP on an address that other machines can reach")
    .option("--open-names", "login names of this host are free for users of other hosts")
    .option("--private", "other hosts see who is on only while they are on themselves")
    .option("--admins <logins>", "users who may administer it, beside root and the server's own user")
    .option("--watch-limit <n>", "clients on up to which everybody may be watched (default: 256)")
    .option(
      "--metrics <host:port>",
      "where Prometheus reads the counters (loopback unless --insecure; default: nowhere)",
    )
    .option("--state-dir <dir>", "where names, keys and the certificate are kept")
    .option("--directory <etcd://…>", "etcd://HOST:PORT[,…]/PREFIX: where servers share one directory")
    .option("--directory-ca <file>", "authorities that etcd is checked by (PEM)")
    .option("--directory-cert <file>", "this server's certificate for etcd (PEM)")
    .option("--directory-key <file>", "its private key (PEM)")
    .option("--realm <name>", "the same at all hosts whose uids mean the same people")
    .option("--peer-listen <host:port>", "where the other servers of the directory reach this one")
    .option("--no-mailbox", "keep no messages for clients that are off")
    .option("--mailbox-size <size>", "bytes of all that is kept (default: 64M)")
    .option("--mailbox-age <time>", "how long a message is kept (default: 7d)")
    .option("--no-relay", "pass no datagrams on between clients that reach each other no other way")
    .option("--relay-rate <size>", "bytes a second that each client may have passed on (default: 256K)")
    .option("--table-mode <mode>", "permissions of the table in shared memory, in octal (default: 0644)")
    .addOption(new Option("--background", "for the server that a client starts").hideHelp())
    .addOption(new Option("--after <table>", "whose names are held").hideHelp())
    .addHelpText("after", HELP)
    .action(run);
}

async function run(_options: unknown, command: Command): Promise<void> {
  const { json, background, after, ...flags } = givenFlags(command);
  if (background === true) process.umask(BACKGROUND_UMASK);
  for (const name of ["server", "port"])
    if (flags[name] !== undefined) throw TalkError.usage(`serve takes no --${name}: where it listens is --listen`);
  if (flags.as !== undefined) throw TalkError.usage("serve takes no --as: a server has no name");
  const config = await (background === true ? loadBackgroundConfig(flags) : loadServeConfig(flags));
  // `ptalk serve | head -1` has read the ready line and is content, a full disk is no reason to go: the server goes on.
  for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners("error").on("error", () => {});
  const { serve } = await import("../../server/main.ts");
  try {
    await serve({ ...config, ...(background === true ? passing(after) : {}), json: json === true });
  } catch (error) {
    throw background === true && isOccupied(error)
      ? new TalkError("try-again", error.message, { cause: error })
      : error;
  }
}

/** It belongs to no user: whichever client started it, it gives the names to the same people. */
function passing(after: string | boolean | undefined): Pick<ServerOptions, "ephemeral" | "predecessor"> {
  return { ephemeral: true, ...(typeof after === "string" ? { predecessor: after } : {}) };
}

/** Another server is in the way, or was a moment ago: the client that started this one tries again, and at nothing else. */
function isOccupied(error: unknown): error is TalkError {
  if (!(error instanceof TalkError)) return false;
  return error.remedy === "other-state-dir" || ["EADDRINUSE", "EBUSY"].includes(systemCode(error.cause) ?? "");
}
