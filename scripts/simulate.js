// `npm run simulate -- [options]`: test/simulation/main.ts with all of lib/ that it needs, as one module. Under Node's loader hooks an
// import() would wait for another thread, and each life would be another one.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { rolldown } from "rolldown";

const ROOT = join(import.meta.dirname, "..");

/** Node finds packages by their names; the modules of this one go into the bundle. */
const packagesOutside = {
  name: "packages-outside",
  resolveId: (specifier) =>
    specifier.startsWith(".") || specifier.startsWith("/") ? null : { id: specifier, external: true },
};

/** A module still means its own place. */
const ownPlace = {
  name: "own-place",
  transform: {
    filter: { code: /import\.meta\./ },
    handler: (code, id) => ({
      code: code
        .replaceAll("import.meta.dirname", JSON.stringify(dirname(id)))
        .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(id).href)),
      map: null, // the lines stay
    }),
  },
};

mkdirSync(join(ROOT, "build"), { recursive: true });
const folder = mkdtempSync(join(ROOT, "build", "simulation-"));
try {
  const bundle = await rolldown({
    input: join(ROOT, "test/simulation/main.ts"),
    platform: "node",
    plugins: [packagesOutside, ownPlace],
    // What Node 20 does not know yet: `using`.
    transform: { target: "node20" },
  });
  await bundle.write({ dir: folder, entryFileNames: "simulate.mjs", chunkFileNames: "[name].mjs", sourcemap: true });
  const args = [...process.execArgv, "--enable-source-maps", join(folder, "simulate.mjs"), ...process.argv.slice(2)];
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  // Ended by a signal, both clean up.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  const [status] = await once(child, "exit");
  process.exitCode = status ?? 70;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
