// Colours for people: none on a pipe, none with NO_COLOR, none on a dumb terminal; --color goes before all of these.
import { TalkError } from "../base/errors.ts";
import type { Environment } from "../base/files.ts";

const SGR = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;
export type Colour = keyof typeof SGR;
/** Wraps text in a colour, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

export const plain: Paint = (_, text) => text;
const coloured: Paint = (colour, text) => (text === "" ? "" : `\x1b[${SGR[colour]}m${text}\x1b[0m`);

let asked: "auto" | "always" | "never" = "auto";

/** From now on, as --color says. @throws TalkError usage */
export function setColours(when: string): void {
  if (when !== "auto" && when !== "always" && when !== "never")
    throw TalkError.usage(`--color: expected auto, always or never, not ${JSON.stringify(when)}`);
  asked = when;
}

/** @see https://no-color.org: NO_COLOR counts when present and not empty */
export function painter(stream: { readonly isTTY?: boolean }, env: Environment = process.env): Paint {
  if (asked !== "auto") return asked === "always" ? coloured : plain;
  return stream.isTTY && !env.NO_COLOR && env.TERM !== "dumb" ? coloured : plain;
}

const NAME_COLOURS: readonly Colour[] = ["cyan", "green", "magenta", "yellow", "blue"];

/** The same colour for the same name each time. */
export function colourOfName(name: string): Colour {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) | 0;
  return NAME_COLOURS[Math.abs(hash) % NAME_COLOURS.length] as Colour;
}
