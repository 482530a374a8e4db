// Two people behind two NATs, at terminals: what docs/NETWORK.md shows.
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { hostCommand, whyNoHosts } from "../helpers/host.ts";
import { nftMissing } from "../helpers/nft.ts";
import { Program } from "../helpers/program.ts";

const root = join(import.meta.dirname, "../..");
const script = join(root, "test/fixtures/hosts/transcript.js");
const loader = ["--import", join(root, "scripts/typescript.js")];
let host: Program | undefined;
afterEach(() => host?.kill());

const why = whyNoHosts ?? nftMissing;

describe.skipIf(why)(
  `two people, each behind a NAT that lets nothing unasked in${why ? ` (skipped: ${why})` : ""}`,
  () => {
    it("talk directly, and each sees what the other says", async () => {
      const [command, args] = hostCommand([process.execPath, ...loader, script]);
      host = new Program(command, args);
      const printed: string[] = [];
      while (printed.filter((line) => line === "").length < 2) printed.push(await host.line());
      await host.ended;
      const shown = printed.map((line) => line.replace(/^\d\d:\d\d /, ""));
      expect(shown).toContainEqual(expect.stringMatching(/^✓ → bob: hello bob, I am behind a NAT/));
      expect(shown).toContain("alice: hello bob, I am behind a NAT");
      expect(shown).toContain("bob: so am I");
      expect(shown).toContainEqual(expect.stringMatching(/^ {2}bob: 203\.0\.113\.20:\d+, round trip/));
    });
  },
);
