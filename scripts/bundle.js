// Puts the modules that `ptalk send` needs into one folder of few files, dist/quick: reading some 80 small ones takes longer
// than what they do. Run by `npm run build`, after the compiler. Outside stay the dependencies, and native.js, which finds the
// addon from where it is and must be loaded once.
import { join } from "node:path";
import { rolldown } from "rolldown";

const dist = join(import.meta.dirname, "../dist");

/** CommonJS, and used by default import only. Node parses such a module twice when it is imported, but not when required. */
const REQUIRED = /^(noise-handshake|sodium-universal)$/;
const VIRTUAL = "\0required:";

const requireCommonJs = {
  name: "require-commonjs",
  resolveId: { filter: { id: REQUIRED }, handler: (id) => VIRTUAL + id },
  load: {
    filter: { id: new RegExp(`^${VIRTUAL}`) },
    handler: (id) =>
      `import { createRequire } from "node:module";
       export default createRequire(import.meta.url)(${JSON.stringify(id.slice(VIRTUAL.length))});`,
  },
};

const bundle = await rolldown({
  input: { send: join(dist, "cli/quick-send.js") },
  platform: "node",
  plugins: [requireCommonJs],
  external: (id) => id.endsWith("/native.js") || !(/^[./]/.test(id) || REQUIRED.test(id) || id.startsWith(VIRTUAL)),
  makeAbsoluteExternalsRelative: true,
});
await bundle.write({ dir: join(dist, "quick"), format: "esm", chunkFileNames: "[name].js" });
