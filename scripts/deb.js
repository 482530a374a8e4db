// `npm run deb [-- --arch arm64]`: out/ptalk_VERSION_ARCH.deb, made of the single executable, the units and files of contrib/ and the man
// pages, by dpkg-deb. The same sources give the same bytes: all times are the commit's.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const DEB_ARCHES = { x64: "amd64", arm64: "arm64" };
const root = join(import.meta.dirname, "..");
const { version, description, homepage } = createRequire(import.meta.url)("../package.json");
const { values: options } = parseArgs({ options: { arch: { type: "string", default: process.arch } } });
const executable = join(root, "out", `ptalk-${version}-linux-${options.arch}`);

const scratch = mkdtempSync(join(tmpdir(), "ptalk-deb-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
const tree = join(scratch, "tree");

function put(path, content, mode = 0o644) {
  const file = join(tree, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}
const putFile = (path, from, mode) => put(path, readFileSync(join(root, from)), mode);
/** Without the time that gzip keeps. */
const gzipped = (from) => gzipSync(readFileSync(join(root, from)), { level: 9 });

function run(command, args, settings = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", ...settings });
  if (status === 0) return stdout.trim();
  console.error(`${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  process.exit(1);
}

const [commitDate, commitTime, committer] = run("git", ["log", "-1", "--format=%cD%n%ct%n%cn <%ce>"], {
  cwd: root,
}).split("\n");
/** As Debian's own tools take it from the environment; else whoever made the commit. */
const { DEBFULLNAME: fullName, DEBEMAIL: email } = process.env;
const maintainer = fullName && email ? `${fullName} <${email}>` : committer;

if (!existsSync(executable)) {
  const made = spawnSync("npm", ["run", "executable", "--", "--arch", options.arch], { cwd: root, stdio: "inherit" });
  if (made.status !== 0) process.exit(1);
}
mkdirSync(join(tree, "usr/bin"), { recursive: true });
copyFileSync(executable, join(tree, "usr/bin/ptalk"));
chmodSync(join(tree, "usr/bin/ptalk"), 0o755);

const contrib = readdirSync(join(root, "contrib")).filter((name) => /\.(service|socket)$/.test(name));
const isUsers = (unit) => /^WantedBy=default\.target$/m.test(readFileSync(join(root, "contrib", unit), "utf8"));
const units = contrib.filter((unit) => !isUsers(unit));
for (const unit of contrib) {
  // The checkout's unit finds the command wherever npm has put it.
  const text = readFileSync(join(root, "contrib", unit), "utf8").replace("/usr/bin/env ptalk", "/usr/bin/ptalk");
  put(`usr/lib/systemd/${isUsers(unit) ? "user" : "system"}/${unit}`, text);
}
putFile("usr/lib/sysusers.d/ptalk.conf", "contrib/ptalk.sysusers");
putFile("usr/lib/tmpfiles.d/ptalk.conf", "contrib/ptalk.tmpfiles");
putFile("etc/ptalk/config.toml", "contrib/config.toml");
for (const page of readdirSync(join(root, "man"))) {
  const section = page.split(".").pop();
  put(`usr/share/man/man${section}/${page}.gz`, gzipped(`man/${page}`));
}
for (const [shell, path] of [
  ["bash", "usr/share/bash-completion/completions/ptalk"],
  ["zsh", "usr/share/zsh/vendor-completions/_ptalk"],
  ["fish", "usr/share/fish/vendor_completions.d/ptalk.fish"],
]) {
  const made = spawnSync(process.execPath, [join(root, "bin/ptalk.js"), "completion", shell], { encoding: "utf8" });
  if (made.status === 0 && made.stdout !== "") put(path, made.stdout);
}
const debianLog = `ptalk (${version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- ${maintainer}  ${commitDate}\n`;
put("usr/share/doc/ptalk/changelog.gz", gzipSync(debianLog, { level: 9 }));
put("usr/share/doc/ptalk/CHANGELOG.md.gz", gzipped("CHANGELOG.md"));
for (const page of ["README.md", "SECURITY.md"]) putFile(`usr/share/doc/ptalk/${page}`, page);
cpSync(join(root, "docs"), join(tree, "usr/share/doc/ptalk/docs"), { recursive: true });
cpSync(join(root, "examples"), join(tree, "usr/share/doc/ptalk/examples"), { recursive: true });
const licences = [
  readFileSync(join(root, "LICENSE"), "utf8"),
  run(executableFor("--licences")[0], executableFor("--licences")[1]),
];
put(
  "usr/share/doc/ptalk/copyright",
  `ptalk${homepage ? `, ${homepage}` : ""}\n\n${licences[0]}\nThe command contains Node.js, libsodium and other packages under the licences below.\n\n${licences[1]}\n`,
);
put(
  "usr/share/lintian/overrides/ptalk",
  [
    "# Node.js is in the executable as its project builds it.",
    "ptalk: embedded-library *usr/bin/ptalk*",
    "ptalk: hardening-no-pie *usr/bin/ptalk*",
    "ptalk: hardening-no-fortify-functions *usr/bin/ptalk*",
    "# Its licences are given whole, as they ask; some mention the GPL or an old address.",
    "ptalk: copyright-file-contains-full-apache-2-license",
    "ptalk: copyright-not-using-common-license-for-gpl",
    "ptalk: old-fsf-address-in-copyright-file",
    "# Sockets, which are no service of debhelper's: on at installation, the service at the first connection.",
    "ptalk: maintainer-script-calls-systemctl *",
    "",
  ].join("\n"),
);

/** Another processor's command cannot run here; its licences are this one's. */
function executableFor(option) {
  return options.arch === process.arch
    ? [executable, [option]]
    : [process.execPath, [join(root, "bin/ptalk.js"), option]];
}

const files = run("find", [".", "-type", "f", "-printf", "%P\n"], { cwd: tree }).split("\n").sort();
const kilobytes = files.reduce((sum, file) => sum + Math.ceil(statSync(join(tree, file)).size / 1024), 0);
const sums = files
  .filter((file) => !file.startsWith("etc/"))
  .map(
    (file) =>
      `${createHash("md5")
        .update(readFileSync(join(tree, file)))
        .digest("hex")}  ${file}`,
  );

const start = units.filter((unit) => unit.endsWith(".socket"));
put("DEBIAN/md5sums", `${sums.join("\n")}\n`);
put("DEBIAN/conffiles", "/etc/ptalk/config.toml\n");
put(
  "DEBIAN/control",
  [
    "Package: ptalk",
    `Version: ${version}`,
    `Architecture: ${DEB_ARCHES[options.arch]}`,
    `Maintainer: ${maintainer}`,
    `Installed-Size: ${kilobytes}`,
    "Depends: libc6 (>= 2.28), libgcc-s1 | libgcc1, libstdc++6",
    "Recommends: systemd | systemd-standalone-sysusers",
    "Section: net",
    "Priority: optional",
    ...(homepage ? [`Homepage: ${homepage.replace(/#.*/, "")}`] : []),
    `Description: ${description.split(",")[0].replace(/^P/, "p")}`,
    " People and scripts on one host, or on hosts of one network, send each other",
    " messages that are encrypted, acknowledged and shown once. A lookup server",
    " for everybody on the host is started by systemd at the first use.",
    "",
  ].join("\n"),
);
put(
  "DEBIAN/postinst",
  `#!/bin/sh
set -e
if [ "$1" = configure ]; then
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers ptalk.conf
  elif ! getent passwd ptalk >/dev/null; then
    useradd --system --home-dir /var/lib/ptalk --shell /usr/sbin/nologin ptalk
  fi
  if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create ptalk.conf || true; fi
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ -z "$2" ]; then
      systemctl enable ${start.join(" ")}
      # Each by itself: somebody may hold the port.
      for unit in ${start.join(" ")}; do systemctl start $unit || true; done
    else
      # Clients stay on: the sockets stay open, and a client that loses its server comes back by itself.
      systemctl try-restart ptalk.service
    fi
  fi
fi
`,
  0o755,
);
put(
  "DEBIAN/prerm",
  `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl disable --now ${units.join(" ")} || true
fi
`,
  0o755,
);
put(
  "DEBIAN/postrm",
  `#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
if [ "$1" = purge ]; then
  rm -rf /var/lib/ptalk /var/lib/private/ptalk /etc/ptalk /run/ptalk
  if getent passwd ptalk >/dev/null; then userdel ptalk || true; fi
fi
`,
  0o755,
);

run("find", [tree, "-type", "d", "-exec", "chmod", "0755", "{}", "+"]);
run("find", [tree, "-type", "f", "!", "-perm", "/0111", "-exec", "chmod", "0644", "{}", "+"]);
const deb = join(root, "out", `ptalk_${version}_${DEB_ARCHES[options.arch]}.deb`);
run("dpkg-deb", ["--root-owner-group", "-Zxz", "--build", tree, deb], {
  env: { ...process.env, SOURCE_DATE_EPOCH: commitTime },
});
console.log(relative(process.cwd(), deb));
