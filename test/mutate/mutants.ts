// All the small changes to a source that a test should notice: an operator, a boundary, a constant, a condition, a statement
// or a function's body that is gone. Of TypeScript by its syntax tree, of C++ by its lines. Pure.
import { parseSync } from "rolldown/utils";

export interface Mutant {
  /** From the repository's root. */
  readonly file: string;
  readonly line: number;
  /** "operator", "boundary", "constant", "condition", "statement", "return". */
  readonly kind: string;
  /** Offsets in the source of what is replaced. */
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
}

export function applied(source: string, { start, end, replacement }: Mutant): string {
  return source.slice(0, start) + replacement + source.slice(end);
}

/** "-  old line" and "+  new line". */
export function difference(source: string, mutant: Mutant): string {
  const [before, after] = [source.split("\n"), applied(source, mutant).split("\n")];
  const first = before.findIndex((line, i) => line !== after[i]);
  const removed = before.length - after.length + 1;
  const old = before.slice(first, first + Math.max(1, removed));
  const fresh = after.slice(first, first + Math.max(1, after.length - before.length + old.length));
  return [...old.map((line) => `- ${line}`), ...fresh.map((line) => `+ ${line}`)].join("\n");
}

/** What an operator is exchanged for. */
const OPERATORS: Readonly<Record<string, readonly [string, string]>> = {
  "<": ["<=", "boundary"],
  "<=": ["<", "boundary"],
  ">": [">=", "boundary"],
  ">=": [">", "boundary"],
  "===": ["!==", "operator"],
  "!==": ["===", "operator"],
  "==": ["!=", "operator"],
  "!=": ["==", "operator"],
  "&&": ["||", "operator"],
  "||": ["&&", "operator"],
  "??": ["&&", "operator"],
  "+": ["-", "operator"],
  "-": ["+", "operator"],
  "*": ["/", "operator"],
  "/": ["*", "operator"],
  "%": ["*", "operator"],
  "&": ["|", "operator"],
  "|": ["&", "operator"],
  "<<": [">>", "operator"],
  ">>": ["<<", "operator"],
  ">>>": ["<<", "operator"],
  "+=": ["-=", "operator"],
  "-=": ["+=", "operator"],
  "++": ["--", "operator"],
  "--": ["++", "operator"],
};

/** Calls whose absence nobody should notice. */
const ONLY_TOLD = /^(debug|log\.(info|warn|error)|this\.#log\.(info|warn|error))\(/;

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";

export function mutantsOf(file: string, source: string): Mutant[] {
  return file.endsWith(".ts") ? ofTypeScript(file, source) : ofCpp(file, source);
}

function ofTypeScript(file: string, source: string): Mutant[] {
  const { program, errors } = parseSync(file, source, { lang: "ts" });
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message}`);
  const mutants: Mutant[] = [];
  const add = (kind: string, start: number, end: number, replacement: string): void => {
    mutants.push({ file, line: lineOf(source, start), kind, start, end, replacement });
  };
  const text = (node: Node): string => source.slice(node.start, node.end);
  visit(program as unknown as Node, (node) => {
    const { type, start, end } = node;
    if (type.startsWith("TS") && !/^TS(As|NonNull|Satisfies)/.test(type)) return false;
    if (/^(Import|Export(All|Named))/.test(type) && !isNode(node["declaration"])) return false;
    if (/^(Binary|Logical|Assignment|Update)Expression$/.test(type)) addOperator(node, source, add);
    else if (type === "Literal") addLiteral(node, add);
    else if (type === "UnaryExpression" && node["operator"] === "!") {
      add("condition", start, end, text(node["argument"] as Node));
    } else if (type === "ConditionalExpression") {
      add("condition", start, end, text(node["consequent"] as Node));
      add("condition", start, end, text(node["alternate"] as Node));
    } else if (/^(If|While)Statement$/.test(type)) {
      const test = node["test"] as Node;
      add("condition", test.start, test.end, `!(${text(test)})`);
    } else if (type === "ExpressionStatement") {
      const statement = text(node);
      if (!/^(super\(|"use )/.test(statement) && !ONLY_TOLD.test(statement)) add("statement", start, end, ";");
    } else if (/^(BreakStatement|ContinueStatement|ThrowStatement)$/.test(type)) add("statement", start, end, ";");
    else if (/Function|Method/.test(type)) addBody(node, add);
    return true;
  });
  return mutants;
}

type Add = (kind: string, start: number, end: number, replacement: string) => void;

function addOperator(node: Node, source: string, add: Add): void {
  const operator = String(node["operator"]);
  const [other, kind] = OPERATORS[operator] ?? [];
  if (other === undefined || kind === undefined) return;
  // Between the two sides, or before or behind the only one.
  const left = (node["left"] ?? (node["prefix"] ? undefined : node["argument"])) as Node | undefined;
  const at = source.indexOf(operator, left?.end ?? node.start);
  add(kind, at, at + operator.length, other);
}

function addLiteral({ start, end, value }: Node, add: Add): void {
  if (typeof value === "boolean") add("constant", start, end, String(!value));
  if (typeof value !== "number") return;
  add("constant", start, end, String(value + 1));
  if (value > 1) add("constant", start, end, String(value * 10));
}

/** The function returns at once. */
function addBody(node: Node, add: Add): void {
  const { body } = node;
  if (!isNode(body) || body.type !== "BlockStatement" || !Array.isArray(body["body"]) || body["body"].length === 0)
    return;
  add("return", body.start, body.end, "{ return; }");
}

function visit(node: Node, enter: (node: Node) => boolean): void {
  if (!enter(node)) return;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, enter);
  }
}

const lineOf = (source: string, at: number): number => source.slice(0, at).split("\n").length;

const CPP_OPERATOR = / (<=|>=|==|!=|&&|\|\||<|>|\+|-|\+=|-=) /g;
const CPP_NUMBER = /(?<![\w.'"])\d+(?![\w.'"])/g;
/** A call or an assignment that is a line of its own. */
const CPP_STATEMENT =
  /^ {2,}(?!return|const |auto |static |using |delete |else|if |for |while |case |default|Napi::|int |size_t |char |struct )[\w>.*()[\]:-]+ ?(\(.*\)|=.*|\+\+|--);$/;
const CPP_RETURN = /^ {2,}if \(.*\) (return|continue|break).*;$/;

// No parser of C++ is at hand: lines that are plainly one thing are changed, and what does not compile is drawn anew.
function ofCpp(file: string, source: string): Mutant[] {
  const mutants: Mutant[] = [];
  let at = 0;
  let inComment = false;
  source.split("\n").forEach((whole, i) => {
    const start = at;
    at += whole.length + 1;
    if (whole.includes("/*")) inComment = !whole.includes("*/");
    const line = whole.replace(/\/\/.*$/, "");
    if (inComment || /^\s*(#|namespace|static_assert|template|extern)/.test(line)) return;
    const add = (kind: string, from: number, to: number, replacement: string): void => {
      mutants.push({ file, line: i + 1, kind, start: start + from, end: start + to, replacement });
    };
    if (CPP_STATEMENT.test(line.trimEnd())) add("statement", line.search(/\S/), line.trimEnd().length, ";");
    if (CPP_RETURN.test(line.trimEnd())) add("condition", line.search(/\S/), line.trimEnd().length, ";");
    for (const { 1: operator = "", index } of line.matchAll(CPP_OPERATOR)) {
      const [other, kind] = OPERATORS[operator] ?? [];
      if (other !== undefined && kind !== undefined) add(kind, index + 1, index + 1 + operator.length, other);
    }
    for (const { 0: digits, index } of line.matchAll(CPP_NUMBER)) {
      add("constant", index, index + digits.length, String(Number(digits) + 1));
    }
  });
  return mutants;
}
