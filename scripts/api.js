// `npm run api`: docs/API.md from the declarations of ptalk/ipc (dist/ipc/*.d.ts) and scripts/api-examples.js. `--check`: ends with 1 when the
// page is not what would be written.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXAMPLES } from "./api-examples.js";

const root = join(import.meta.dirname, "..");
const page = join(root, "docs/API.md");

const INTRODUCTION = `# ptalk/ipc: the library

Made by \`npm run api\` from the declarations and their comments: change those. [The tutorial](IPC-TUTORIAL.md) shows the calls at work;
[CONFORMANCE.md](CONFORMANCE.md) says what POSIX asserts of them, and the test for each assertion.

Failures of the system are an [\`IpcError\`](#ipcerror) whose \`code\` is the errno's name: the capitals in the descriptions (ENOENT, EACCES …).
Arguments of the wrong type are a TypeError, those out of range a RangeError. Names are "/name", as text or bytes. Times are milliseconds, sizes
bytes, unless it says otherwise. What has \`close\` closes by itself at the end of a \`using\` declaration, and leaves its name: \`unlink\` takes that.
`;

/** The text of a doc comment, its lines joined; links to pages last. */
function docText(comment) {
  const lines = comment
    .replace(/^\s*\/\*\*|\*\/\s*$/g, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, "").trim())
    .filter((line) => line !== "");
  const at = lines.findIndex((line) => line.startsWith("@"));
  const prose = (at === -1 ? lines : lines.slice(0, at)).join(" ");
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
    return `${text.replace(/^@param (\w+) /, "`$1`: ")}.`.replace(/\.\.$/, ".");
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

/** The public members of a class, each with its comment. */
function* membersOf(text) {
  const body = text.slice(text.indexOf("{") + 1, text.lastIndexOf("}"));
  for (const [, comment = "", signature] of body.matchAll(
    new RegExp(`(${COMMENT})?\\s*([^\\s/][^;]*(?:\\{[^}]*\\}[^;]*)*);`, "g"),
  )) {
    if (/^(#private|private |protected )/.test(signature)) continue;
    if (/^\[Symbol\.(asyncD|d)ispose\]/.test(signature)) continue;
    yield { comment, signature: signature.replace(/\s+/g, " ") };
  }
}

function section({ name, file }) {
  const declarations = readFileSync(join(root, "dist/ipc", file.replace(/^\.\/|\.ts$/g, "")).concat(".d.ts"), "utf8");
  const { kind, comment, text } = declarationOf(declarations, name);
  const lines = [`## ${name}`, "", docText(comment)];
  if (kind === "class") {
    const heritage = text.slice(0, text.indexOf("{")).trim();
    lines.push("", "```ts", tidy(heritage), "```");
    for (const { comment, signature } of membersOf(text)) lines.push("", `\`${signature}\`  `, docText(comment));
  } else {
    lines.push("", "```ts", tidy(text), "```");
  }
  if (EXAMPLES[name] !== undefined) lines.push("", "```js", EXAMPLES[name], "```");
  return lines.filter((line, i) => line !== "" || lines[i - 1] !== "").join("\n");
}

/** What ptalk/ipc exports: values with an example first, in the order of the examples, then the types. */
function exportsOf() {
  const index = readFileSync(join(root, "dist/ipc/index.d.ts"), "utf8");
  const found = [];
  for (const [, onlyTypes, names, file] of index.matchAll(/^export (type )?\{([^}]*)\} from "([^"]+)";$/gm))
    for (const item of names
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== ""))
      found.push({
        name: item.replace(/^type /, ""),
        file,
        isType: onlyTypes !== undefined || item.startsWith("type "),
      });
  const order = Object.keys(EXAMPLES);
  const missing = found.filter(({ name, isType }) => !isType && !order.includes(name));
  if (missing.length > 0)
    throw new Error(`no example of ${missing.map(({ name }) => name)} in scripts/api-examples.js`);
  const values = order.map((name) => found.find((each) => each.name === name && !each.isType));
  return [...values, ...found.filter(({ isType }) => isType).sort((a, b) => (a.name < b.name ? -1 : 1))];
}

const all = exportsOf();
/** A number distinguishes headings that differ only in case. */
const anchors = new Map();
function anchorOf(name) {
  const text = name.toLowerCase();
  const before = anchors.get(text) ?? 0;
  anchors.set(text, before + 1);
  return before === 0 ? text : `${text}-${before}`;
}
const contents = all.map(({ name }) => `[${name}](#${anchorOf(name)})`).join(" · ");
const wanted = `${[INTRODUCTION, contents, "", ...all.map((each) => `${section(each)}\n`)].join("\n").trimEnd()}\n`;
if (!process.argv.includes("--check")) {
  writeFileSync(page, wanted);
} else if (readFileSync(page, "utf8") !== wanted) {
  console.error("docs/API.md is not what the declarations say: npm run build && npm run api");
  process.exitCode = 1;
}
