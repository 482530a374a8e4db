// `npm run api`: docs/API.md from the declarations (dist/**/*.d.ts) of both entries of the package and scripts/api-examples.js. `--check`: ends
// with 1 when the page is not what would be written.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { IPC_EXAMPLES, TALK_EXAMPLES } from "./api-examples.js";

const root = join(import.meta.dirname, "..");
const page = join(root, "docs/API.md");

const INTRODUCTION = `# The library

Made by \`npm run api\` from the declarations and their comments: change those. The package has two entries: [ptalk](#ptalk), clients and
servers, and [ptalk/ipc](#ptalkipc), the POSIX primitives. Both are ES modules; \`require\` loads them from Node 22.12 on. Times are milliseconds,
sizes bytes, unless it says otherwise.

What has \`close\` closes by itself at the end of a \`using\` or \`await using\` declaration.
`;

const TALK_INTRODUCTION = `# ptalk

Failures are a [\`TalkError\`](#talkerror), whose \`code\` a program can go by, or the system's own error where a file, a socket or a process
is meant. An \`AbortSignal\` ends a call with the signal's reason. [PROTOCOL.md](PROTOCOL.md) and [PEER-PROTOCOL.md](PEER-PROTOCOL.md) say what goes
over the wire; \`examples/\` has whole programs.
`;

const IPC_INTRODUCTION = `# ptalk/ipc

[The tutorial](IPC-TUTORIAL.md) shows the calls at work; [CONFORMANCE.md](CONFORMANCE.md) says what POSIX asserts of them, and the test for each
assertion.

Failures of the system are an [\`IpcError\`](#ipcerror) whose \`code\` is the errno's name: the capitals in the descriptions (ENOENT, EACCES …).
Arguments of the wrong type are a TypeError, those out of range a RangeError. Names are "/name", as text or bytes. \`close\` leaves the name:
\`unlink\` takes that.
`;

/** Tags within a line, as words. */
const inWords = (text) =>
  text.replace(/ @(t|r)(hrows|eturns) /g, (_, first, rest) => ` ${first.toUpperCase()}${rest} `);

/** The text of a doc comment, its lines joined; links to pages last. Code in it is left out: the page has examples that a test runs. */
function docText(comment) {
  const lines = comment
    .replace(/^\s*\/\*\*|\*\/\s*$/g, "")
    .replace(/\{@link (\w+)\}/g, "`$1`")
    .split("\n")
    .filter((line) => !/^\s*\* {5}/.test(line))
    .map((line) => line.replace(/^\s*\* ?/, "").trim())
    .filter((line) => line !== "");
  const at = lines.findIndex((line) => line.startsWith("@"));
  const prose = inWords((at === -1 ? lines : lines.slice(0, at)).join(" "));
  const tags =
    at === -1
      ? []
      : lines
          .slice(at)
          .join("\n")
          .split(/\n(?=@)/);
  const shown = tags.map((tag) => {
    const text = tag.replaceAll("\n", " ");
    if (text.startsWith("@see ")) return `See <${text.slice("@see ".length)}>.`;
    const words = text.replace(/^@param ([\w.]+) /, "`$1`: ").replace(/^@(t|r)/, (_, first) => first.toUpperCase());
    return `${inWords(words)}.`.replace(/\.\.$/, ".");
  });
  return [prose, ...shown].filter((part) => part !== "").join(" ");
}

const COMMENT = String.raw`(?:\/\*\*(?:[^*]|\*(?!\/))*\*\/)`;

/** The declaration of that name: its comment and its text, to the end of its block or statement. */
function declarationOf(text, name) {
  const head = new RegExp(
    `(${COMMENT})?\\s*export (?:declare )?(?:abstract )?(class|interface|type|function|const|let) ${name}\\b`,
  );
  const found = head.exec(text);
  if (found === null) throw new Error(`no declaration of ${name}`);
  const start = text.indexOf("export", found.index + (found[1]?.length ?? 0));
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    if ("{([".includes(text[i])) depth++;
    if ("})]".includes(text[i])) depth--;
    const isEnd = text[i] === ";" || (text[i] === "}" && ["class", "interface"].includes(found[2]));
    if (depth === 0 && isEnd) return { kind: found[2], comment: found[1] ?? "", text: text.slice(start, i + 1) };
  }
  throw new Error(`${name} has no end`);
}

/** Declarations as they are written here: no `export declare`, two spaces. */
const tidy = (text) =>
  text.replace(/^export (declare )?/, "").replace(/^( {4})+/gm, (blanks) => " ".repeat(blanks.length / 2));

/** A declaration within a line; more backquotes hold what has one in it. */
function inline(code) {
  const fence = code.includes("`") ? "``" : "`";
  return `${fence}${code}${fence}`;
}

/** The public members of a class, each with its comment. Those that make errors are for the library itself. */
function* membersOf(name, text) {
  const body = text.slice(text.indexOf("{") + 1, text.lastIndexOf("}"));
  for (const [, comment = "", signature] of body.matchAll(
    new RegExp(`(${COMMENT})?\\s*([^\\s/][^;]*(?:\\{[^}]*\\}[^;]*)*);`, "g"),
  )) {
    if (/^(#private|private |protected )/.test(signature)) continue;
    if (/^\[Symbol\.(asyncD|d)ispose\]/.test(signature)) continue;
    if (name === "TalkError" && /^static .*: TalkError$/.test(signature)) continue;
    yield { comment, signature: signature.replace(/\s+/g, " ") };
  }
}

function section({ name, declared, file }, example) {
  const { kind, comment, text } = declarationOf(readFileSync(file, "utf8"), declared);
  const lines = [`## ${name}`, "", docText(comment)];
  if (kind === "class") {
    const heritage = text.slice(0, text.indexOf("{")).trim();
    lines.push("", "```ts", tidy(heritage).replace(declared, name), "```");
    for (const { comment, signature } of membersOf(declared, text))
      lines.push("", `${inline(signature.replaceAll(new RegExp(`\\b${declared}\\b`, "g"), name))}  `, docText(comment));
  } else {
    lines.push("", "```ts", tidy(text), "```");
  }
  if (example !== undefined) lines.push("", "```js", example, "```");
  return lines.filter((line, i) => line !== "" || lines[i - 1] !== "").join("\n");
}

const EXPORT = /^export (type )?(?:\{([^}]*)\}|\*)(?: from "([^"]+)")?;$/gm;
const OWN = /^export (?:declare )?(interface|type) (\w+)/gm;

/** What a file of declarations exports: each name with the file that declares it, and its name there. */
function exportsOf(file) {
  const text = readFileSync(file, "utf8");
  const found = [...text.matchAll(OWN)].map(([, , name]) => ({ name, declared: name, file, isType: true }));
  for (const [, onlyTypes, names, from] of text.matchAll(EXPORT)) {
    const source = from === undefined ? undefined : join(dirname(file), from.replace(/\.ts$/, ".d.ts"));
    if (names === undefined) {
      found.push(...exportsOf(source));
      continue;
    }
    for (const item of names
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "")) {
      const [declared, name = declared] = item.replace(/^type /, "").split(" as ");
      const isType = onlyTypes !== undefined || item.startsWith("type ");
      // `export type { X };` passes on what this file imports.
      const declaredIn = source ?? importedFrom(text, declared, file);
      found.push({ name, declared, file: declaredIn, isType });
    }
  }
  return found;
}

function importedFrom(text, name, file) {
  for (const [, names, from] of text.matchAll(/^import (?:type )?\{([^}]*)\} from "([^"]+)";$/gm))
    if (names.split(",").some((item) => item.trim().replace(/^type /, "") === name))
      return join(dirname(file), from.replace(/\.ts$/, ".d.ts"));
  throw new Error(`${file} exports ${name}, and does not import it`);
}

/** What an entry of the package exports: values with an example first, in the order of the examples, then the types. */
function entryOf(file, examples) {
  const exported = exportsOf(join(root, file));
  const values = exported.filter(({ isType }) => !isType);
  const order = Object.keys(examples);
  const missing = values.filter(({ name }) => !order.includes(name));
  if (missing.length > 0)
    throw new Error(`no example of ${missing.map(({ name }) => name)} in scripts/api-examples.js`);
  const types = new Map(exported.filter(({ isType }) => isType).map((each) => [each.name, each]));
  for (const { name } of values) types.delete(name);
  return [
    ...order.map((name) => values.find((each) => each.name === name)),
    ...[...types.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
  ];
}

/** A number distinguishes headings that differ only in case. */
const anchors = new Map([
  ["ptalk", 1],
  ["ptalkipc", 1],
]);
function anchorOf(name) {
  const text = name.toLowerCase();
  const before = anchors.get(text) ?? 0;
  anchors.set(text, before + 1);
  return before === 0 ? text : `${text}-${before}`;
}

function part(introduction, file, examples) {
  const all = entryOf(file, examples);
  const contents = all.map(({ name }) => `[${name}](#${anchorOf(name)})`).join(" · ");
  return [introduction, contents, "", ...all.map((each) => `${section(each, examples[each.name])}\n`)].join("\n");
}

const wanted = `${[
  INTRODUCTION,
  part(TALK_INTRODUCTION, "dist/index.d.ts", TALK_EXAMPLES),
  part(IPC_INTRODUCTION, "dist/ipc/index.d.ts", IPC_EXAMPLES),
]
  .join("\n")
  .trimEnd()}\n`;
if (!process.argv.includes("--check")) {
  writeFileSync(page, wanted);
} else if (readFileSync(page, "utf8") !== wanted) {
  console.error("docs/API.md is not what the declarations say: npm run build && npm run api");
  process.exitCode = 1;
}
