// Whose a connection is, from the kernel to the protocol. (Which uids count on which socket: local-sockets.test.ts.)
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LocalServer } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";
import { whyNoUsers } from "../users/host-user.ts";

describe("the uid of a connection", () => {
  it.skipIf(whyNoUsers !== null)("goes as a number from the kernel to HELLO, above INT_MAX too", async () => {
    const path = `/tmp/ptalk-origin-${process.pid}`;
    await using _server = await LocalServer.start({ socket: path });
    const uid = String(3_000_000_000);
    const script = join(import.meta.dirname, "../fixtures/server/say-hello.js");
    const words = ["--reuid", uid, "--regid", uid, "--clear-groups", process.execPath, script, path];
    const program = new Program("setpriv", words, { cwd: "/" });
    expect(await program.line()).toBe(`peeruid ${uid}`);
    await program.ended;
  });
});
