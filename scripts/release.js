// `npm run release -- VERSION [--dry-run] [--arch x64]`: everything of a release by one command, into out/: the tarball, the offline bundle, and for
// each processor the executable and the .deb, with SHA256SUMS. It writes VERSION into package.json and CHANGELOG.md, commits and tags first. The
// first release names its --repository URL and --security-contact MAIL as well; package.json keeps them. With --dry-run it changes, commits and
// tags nothing, and VERSION may be left out. It publishes nothing: the last lines say what does.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { withAddresses } from "./addresses.js";

const root = join(import.meta.dirname, "..");
const out = join(root, "out");
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "dry-run": { type: "boolean", default: false },
    repository: { type: "string" },
    "security-contact": { type: "string" },
    arch: { type: "string", multiple: true, default: ["x64", "arm64"] },
  },
});
const dry = options["dry-run"];
const manifestFile = join(root, "package.json");
const manifest = () => JSON.parse(readFileSync(manifestFile, "utf8"));
const [wanted = dry ? manifest().version : undefined] = positionals;

function fail(why) {
  console.error(`release: ${why}`);
  process.exit(1);
}

function run(command, ...args) {
  console.log(`$ ${command} ${args.join(" ")}`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) fail(`${command} ${args.join(" ")} ended with status ${status}`);
}

const said = (command, ...args) => spawnSync(command, args, { cwd: root, encoding: "utf8" }).stdout.trim();

const NO_ADDRESS = "package.json has no address yet: --repository https://HOST/OWNER/NAME --security-contact MAIL";

/** The manifest with the addresses of the release; undefined while it has none. */
function addressed() {
  try {
    return withAddresses(manifest(), options);
  } catch (error) {
    fail(error.message);
  }
}

/** The section of what has not been released, which must say something. */
function unreleased(changelog) {
  const [, text = ""] = /^## Unreleased\n(.*?)(?=^## |$(?![\s\S]))/ms.exec(changelog) ?? [];
  return text.trim();
}

if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(wanted ?? "")) fail("which version? npm run release -- 1.2.3, or --dry-run");
const changelogFile = join(root, "CHANGELOG.md");
const changelog = readFileSync(changelogFile, "utf8");
if (unreleased(changelog) === "") fail("CHANGELOG.md has nothing under Unreleased");
if (said("git", "tag", "--list", `v${wanted}`) !== "") fail(`there is a tag v${wanted} already`);
const changed = said("git", "status", "--porcelain");
if (changed !== "" && !dry) fail(`commit or stash first:\n${changed}`);

const published = addressed();
if (published === undefined && !dry) fail(NO_ADDRESS);

if (!dry) {
  const today = new Date().toISOString().slice(0, 10);
  writeFileSync(changelogFile, changelog.replace("## Unreleased\n", `## Unreleased\n\n## ${wanted} (${today})\n`));
  writeFileSync(manifestFile, `${JSON.stringify(published, null, 2)}\n`);
  if (manifest().version !== wanted) run("npm", "version", wanted, "--no-git-tag-version");
  run("git", "commit", "--all", "--message", `release: ${wanted}`);
  run("git", "tag", "--annotate", `v${wanted}`, "--message", `ptalk ${wanted}`);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
run("npm", "run", "--silent", "build"); // checks the licences of what it bundles
run("npm", "pack", "--silent", "--pack-destination", "out");
run("node", "scripts/bundle-offline.js");
for (const arch of options.arch) {
  run("node", "scripts/executable.js", "--arch", arch);
  run("node", "scripts/deb.js", "--arch", arch);
}
copyFileSync(join(root, "dist/LICENCES.txt"), join(out, "LICENCES.txt"));
const digest = (name) =>
  createHash("sha256")
    .update(readFileSync(join(out, name)))
    .digest("hex");
const files = readdirSync(out).sort();
writeFileSync(join(out, "SHA256SUMS"), files.map((name) => `${digest(name)}  ${name}\n`).join(""));
console.log(readFileSync(join(out, "SHA256SUMS"), "utf8"));
if (published === undefined) console.log(`the release itself will ask: ${NO_ADDRESS}`);
console.log(
  dry
    ? `dry run: nothing was written, committed or tagged; out/ has what a release of ${wanted} would have`
    : `next: git push --follow-tags; npm publish out/ptalk-${wanted}.tgz; upload the files of out/`,
);
