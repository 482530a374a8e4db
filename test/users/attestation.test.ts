// No user is attested as another: each way of trying it, many times, with real uids. Root only.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMMAND } from "../helpers/command.js";
import { Client, ServerProcess } from "../helpers/lookup-server.ts";
import { whyNoPrivateShm } from "../helpers/privileges.ts";
import type { Program } from "../helpers/program.ts";
import { HostUser, whyNoUsers } from "./host-user.ts";

/** Tries of each kind; `npm run test:users` makes ten thousand. */
const TRIES = Number(process.env["PTALK_TRIES"] ?? 1_000);
/** Of those that look into /proc/net/tcp, which a connection that has ended is in for a minute. */
const TCP_TRIES = Math.min(TRIES, 100);
const FIXTURES = join(import.meta.dirname, "../fixtures/users");

interface Outcome {
  readonly tries: number;
  readonly registered: number;
  readonly attested: number;
  readonly refused: number;
  readonly violations: number;
}

describe.skipIf(whyNoUsers !== null)(`attestation (${whyNoUsers ?? "root only"})`, { timeout: 900_000 }, () => {
  let server: ServerProcess;
  let victim: HostUser;
  let mallory: HostUser;
  let folder: string;
  let socket: string;
  const programs: Program[] = [];

  beforeAll(async () => {
    [victim, mallory] = [new HostUser("games"), new HostUser("news")];
    folder = mkdtempSync("/tmp/ptalk-attest-"); // a socket's path is short
    chmodSync(folder, 0o1777);
    socket = join(folder, "socket");
    const state = join(mallory.home, "server");
    server = await ServerProcess.start(["--workers", "1", "--socket", socket, "--state-dir", state]);
  });
  afterAll(async () => {
    for (const program of programs) await program.kill();
    await server?.stop();
    for (const user of [victim, mallory]) user?.[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Starts mallory's relay; gives the port or path that it listens on. */
  async function relay(where: string, target = socket, ...more: string[]): Promise<string> {
    const program = mallory.program([process.execPath, join(FIXTURES, "relay.js"), where, target, ...more]);
    programs.push(program);
    return program.line();
  }

  async function tries(
    user: HostUser,
    plan: Record<string, unknown>,
    wrapper: readonly string[] = [],
  ): Promise<Outcome> {
    const words = [
      ...wrapper,
      process.execPath,
      join(FIXTURES, "tries.js"),
      JSON.stringify({ count: TRIES, uid: user.uid, ...plan }),
    ];
    const program = user.program(words);
    programs.push(program);
    const { code, stderr } = await program.ended;
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(await program.line());
  }

  function report(what: string, { tries, registered, attested, refused, violations }: Outcome): void {
    console.log(
      `${what}: ${violations} of ${tries} tries (${registered} registered, ${attested} attested as themselves, ${refused} refused)`,
    );
    expect(violations).toBe(0);
  }

  it("attests no user through another user's relay, by TCP", async () => {
    const port = Number(await relay("0"));
    const outcome = await tries(victim, { kind: "speak", to: { port } });
    report("through a relay of another user, TCP", outcome);
    expect(outcome.registered).toBeGreaterThan(0);
    expect(outcome.attested).toBe(0);
  });

  it("attests no user through another user's relay, by a Unix socket", async () => {
    const path = await relay(join(folder, "relay"));
    const outcome = await tries(victim, { kind: "speak", to: { path } });
    report("through a relay of another user, Unix socket", outcome);
    expect(outcome.attested).toBe(0);
  });

  it("attests only the own user, directly", async () => {
    const outcome = await tries(victim, { kind: "speak", count: 500, to: { path: socket } });
    report("directly, with signatures for other uids", outcome);
    expect(outcome.attested).toBeGreaterThan(0);
  });

  it("attests no user of a connection that hangs up", async () => {
    report("connections that are reset", await tries(mallory, { kind: "hang up", to: { path: socket } }));
  });

  it("attests a client in a user namespace only as the user outside of it", async () => {
    const hello = await Client.connect(server.port);
    const name = ((await hello.ask("HELLO", 3)) as Map<string, string>).get("unix");
    hello.close();
    for (const path of [socket, name]) {
      const outcome = await tries(mallory, { kind: "speak", to: { path }, count: TRIES / 2 }, ["unshare", "-U", "-r"]);
      report(`from a user namespace, ${path === socket ? "path" : "abstract"}`, outcome);
    }
  });

  it("trusts no program of another user that passes a HELLO on", async () => {
    const path = await relay(join(folder, "hello"));
    const outcome = await tries(victim, { kind: "trust", to: { path } });
    report("a program that passes a HELLO on, Unix socket", outcome);
    expect(outcome.refused).toBeGreaterThan(outcome.tries / 2); // of a busy host some get no answer
    for (const target of [socket, String(server.port)]) {
      const port = Number(await relay("0", target));
      const tcp = await tries(victim, { kind: "trust", to: { port }, count: TCP_TRIES });
      report(`a program that passes a HELLO on, from TCP to ${target === socket ? "a Unix socket" : "TCP"}`, tcp);
      expect(tcp.refused).toBeGreaterThan(tcp.tries / 2);
    }
  });

  it.each(["0", "5", "1000"])(
    "trusts no socket of another user under a free name, that says to be uid %s",
    async (uid) => {
      const path = await relay(join(folder, `planted-${uid}`), socket, uid);
      const outcome = await tries(victim, { kind: "trust", to: { path }, count: Math.ceil(TRIES / 3) });
      report(`a planted socket that says uid ${uid}`, outcome);
      expect(outcome.refused).toBeGreaterThan(outcome.tries / 2); // of a busy host some get no answer
    },
  );

  it.skipIf(whyNoPrivateShm !== null)(
    "of a sender with a private /dev/shm, and under hidepid=2, is no impostor's",
    async () => {
      const at = ["--server", server.address];
      const recv = mallory.start([...at, "--json", "recv", "--count", "2"]);
      programs.push(recv);
      await recv.line();
      // The same user is on outside, so that there are keys to hold against.
      const other = victim.start([...at, "recv"]);
      programs.push(other);
      const ptalk = `setpriv ${victim.prefix.join(" ")} ${COMMAND.join(" ")}`;
      const send = `${ptalk} ${at.join(" ")} send news`;
      const { Program } = await import("../helpers/program.ts");
      const mounts = ["mount -t tmpfs tmpfs /dev/shm", "mount -t proc -o hidepid=2 proc /proc"];
      for (const mount of mounts) {
        const program = new Program("unshare", [
          "-m",
          "sh",
          "-c",
          `${mount} && exec ${send} "sent after ${mount.slice(9, 13)}"`,
        ]);
        expect((await program.end()).code).toBe(0);
        expect(JSON.parse(await recv.line())).toMatchObject({
          from: "games",
          uid: victim.uid,
          attested: "kernel",
          verified: true,
        });
      }
    },
  );
});
