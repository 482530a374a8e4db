// What a line typed in a conversation means. Pure.
import { TalkError } from "../../base/errors.ts";
import { foldName, isRoom, validateName, validateRoom, validateTarget } from "../../base/names.ts";

export type TalkInput =
  | { readonly type: "nothing" }
  | { readonly type: "all" | "list" | "exit" | "help" | "reply" | "stats" }
  /** The last so many messages. */
  | { readonly type: "history"; readonly count: number }
  /** null: shows whom one ignores. */
  | { readonly type: "ignore"; readonly name: string | null }
  | { readonly type: "unignore"; readonly name: string }
  | { readonly type: "join" | "part" | "who"; readonly room: string }
  | { readonly type: "status"; readonly state: "here" | "away"; readonly text: string }
  /** Offers a file to the partner. */
  | { readonly type: "file"; readonly path: string }
  /** Answers an offer; null: the only one. */
  | { readonly type: "accept" | "decline"; readonly id: string | null }
  /** Decides about messages to a user who is off; null: to the one whose messages wait for an answer. */
  | { readonly type: "when-off"; readonly choice: WhenOffChoice; readonly name: string | null }
  /** Makes somebody the partner; null: nobody. */
  | { readonly type: "to"; readonly name: string | null }
  | { readonly type: "send"; readonly to: readonly string[]; readonly text: string };

/** Waits until the user is on, leaves it at the server, or gives it up. */
export type WhenOffChoice = "wait" | "leave" | "cancel";

/** Without a partner; compared without regard to case, and each also with a leading slash. */
export const TALK_COMMANDS = ["All", "List", "Exit", "Help"] as const;
/** With a partner, and without. */
export const SLASH_COMMANDS = [
  "to",
  "r",
  "msg",
  "join",
  "part",
  "who",
  "all",
  "list",
  "history",
  "ignore",
  "unignore",
  "away",
  "back",
  "file",
  "accept",
  "decline",
  "wait",
  "leave",
  "cancel",
  "stats",
  "help",
  "exit",
  "quit",
] as const;

export const TALK_HELP = [
  "NAME message       send a message to NAME; NAME,NAME message to several",
  "/to NAME           talk to NAME: the prompt shows it, and a line goes there as it is; /to ends that",
  "/join #ROOM        enter a room, and talk there; /part [#ROOM] leaves it, /who [#ROOM] says who is in it",
  "/r                 talk to whoever wrote last",
  "@NAME message      one message to somebody else (also /msg NAME message)",
  "//text, @@text     a message that begins with / or @",
  "All                who is on",
  "List               who is on, on this machine",
  "/history [N]       the last N messages, of the one you talk to or of all",
  "/ignore NAME       decline what NAME sends; /unignore NAME ends that, /ignore says whom",
  "/away [TEXT]       the others see that you are away; /back ends that",
  "/file PATH         offer a file to the one you talk to",
  "/accept [ID]       take the file that is offered, into the folder that ptalk was started in; /decline [ID] refuses it",
  "/wait [NAME]       what did not reach NAME, who is off, is sent when NAME comes; /leave [NAME] leaves it at the server,",
  "                   sealed for NAME; /cancel [NAME] gives it up",
  "/stats             what this program counts",
  "Exit               leave (also Ctrl-D)",
  "Help               this",
  "Tab completes names, and goes through them when pressed again; Ctrl-R searches the lines entered before; Ctrl-L redraws",
  "While you talk to somebody, commands need their slash: /list, /exit",
] as const;

const WORDS: ReadonlyMap<string, "all" | "list" | "exit" | "help"> = new Map([
  ["all", "all"],
  ["list", "list"],
  ["exit", "exit"],
  ["help", "help"],
]);
const SLASH_WORDS: ReadonlyMap<string, "all" | "list" | "exit" | "help" | "stats"> = new Map([
  ...WORDS,
  ["quit", "exit"],
  ["stats", "stats"],
]);

/** Names given at once; more is a mistake or a nuisance. */
export const RECIPIENTS_LIMIT = 100;

/**
 * @param line as it was entered, with all its lines
 * @param partner to whom a line goes that names nobody; null while there is no partner
 * @throws TalkError usage
 */
export function parseTalkInput(line: string, partner: string | null): TalkInput {
  if (line.trim() === "") return { type: "nothing" };
  const [, first = "", rest = ""] = /^\s*(\S+)(?:\s(.*))?$/su.exec(line) ?? [];
  if (first.startsWith("//") || first.startsWith("@@")) return literal(line.trimStart().slice(1), partner);
  if (first.startsWith("/")) return slashCommand(first, rest, partner);
  if (first.startsWith("@")) return toOther(first.slice(1), rest, "@NAME message");
  if (partner !== null) return { type: "send", to: [partner], text: line };
  const word = WORDS.get(first.toLowerCase());
  if (word !== undefined) {
    if (rest.trim() === "") return { type: word };
    throw TalkError.usage(`${first} is a command and takes no text; nobody can have that name`);
  }
  return toOther(first, rest, "NAME message, or Help");
}

function slashCommand(first: string, rest: string, partner: string | null): TalkInput {
  const word = first.slice(1).toLowerCase();
  if (word.includes("/")) {
    throw TalkError.usage(`${JSON.stringify(first)} is no command; a message that begins with / is written //`);
  }
  switch (word) {
    case "to":
      return { type: "to", name: onlyName(rest, "/to takes one name: the message comes on the next line", true) };
    case "join": {
      const room = onlyRoom(word, rest);
      if (room === null) throw TalkError.usage("which room? Write /join #ROOM");
      return { type: "join", room };
    }
    case "part":
    case "who": {
      const room = onlyRoom(word, rest) ?? partner;
      if (room === null || !isRoom(room)) throw TalkError.usage(`which room? Write /${word} #ROOM`);
      return { type: word, room };
    }
    case "ignore":
      return { type: "ignore", name: onlyName(rest, "/ignore takes one name") };
    case "unignore": {
      const name = onlyName(rest, "/unignore takes one name");
      if (name === null) throw TalkError.usage("whom? Write /unignore NAME; /ignore says whom you ignore");
      return { type: "unignore", name };
    }
    case "file": {
      const path = rest.trim();
      if (path === "") throw TalkError.usage("which file? Write /file PATH");
      if (partner === null) throw TalkError.usage("to whom? Write /to NAME first, then /file PATH");
      return { type: "file", path };
    }
    case "accept":
    case "decline": {
      const [id = null, ...more] = rest.split(/\s+/u).filter((part) => part !== "");
      if (more.length > 0) throw TalkError.usage(`/${word} takes one ID`);
      return { type: word, id };
    }
    case "wait":
    case "leave":
    case "cancel":
      return { type: "when-off", choice: word, name: onlyName(rest, `/${word} takes one name`) };
    case "away":
      return { type: "status", state: "away", text: rest.trim() };
    case "back":
      if (rest.trim() !== "") throw TalkError.usage("/back takes no text");
      return { type: "status", state: "here", text: "" };
    case "msg": {
      const [, name = "", text = ""] = /^\s*(\S+)(?:\s(.*))?$/su.exec(rest) ?? [];
      return toOther(name, text, "/msg NAME message");
    }
    case "history":
      return { type: "history", count: historyCount(rest.trim()) };
    case "r":
      // With text, somebody who writes between reading and Enter would get the line.
      if (rest.trim() !== "") throw TalkError.usage("/r takes no text: it shows whom you talk to, then write");
      return { type: "reply" };
    default: {
      const known = SLASH_WORDS.get(word);
      if (known === undefined) {
        throw TalkError.usage(`no command ${JSON.stringify(first)}; there are /${SLASH_COMMANDS.join(", /")}`);
      }
      if (rest.trim() === "") return { type: known };
      throw TalkError.usage(`${first} is a command and takes no text; nobody can have that name`);
    }
  }
}

const HISTORY_COUNT = { usual: 20, most: 1_000 };

function historyCount(text: string): number {
  if (text === "") return HISTORY_COUNT.usual;
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= HISTORY_COUNT.most) return count;
  throw TalkError.usage(`/history takes a number from 1 to ${HISTORY_COUNT.most}, not ${JSON.stringify(text)}`);
}

/** "//text" and "@@text": what is left begins with the character itself. */
function literal(text: string, partner: string | null): TalkInput {
  if (partner !== null) return { type: "send", to: [partner], text };
  throw TalkError.usage("this message names nobody: write NAME message, or /to NAME first");
}

function toOther(names: string, text: string, form: string): TalkInput {
  if (names === "") throw TalkError.usage(`a name is missing: write ${form}`);
  if (text.trim() === "") throw TalkError.usage(`no message for ${JSON.stringify(names)}: write ${form}`);
  return { type: "send", to: parseRecipients(names), text };
}

function onlyRoom(word: string, rest: string): string | null {
  const [room = null, ...more] = rest.split(/\s+/u).filter((part) => part !== "");
  if (more.length > 0) throw TalkError.usage(`/${word} takes one room`);
  return room === null ? null : validateRoom(room);
}

function onlyName(rest: string, rule: string, orRoom = false): string | null {
  const [name, ...more] = rest.split(/\s+/u).filter((word) => word !== "");
  if (more.length > 0) throw TalkError.usage(rule);
  if (name === undefined) return null;
  const bare = name.startsWith("@") ? name.slice(1) : name;
  if (orRoom) validateTarget(bare);
  else validateName(bare);
  return bare;
}

/** "NAME,NAME": each once, however it is spelled, in the order given. @throws TalkError usage */
export function parseRecipients(text: string): string[] {
  if (text.trim() === "") throw TalkError.usage("the name is missing: to whom?");
  const names = new Map<string, string>();
  for (const name of text.split(",")) if (!names.has(foldName(name))) names.set(foldName(name), name);
  if (names.has("")) throw TalkError.usage(`${JSON.stringify(text)}: a name is missing beside a comma`);
  if (names.size > RECIPIENTS_LIMIT) throw TalkError.usage(`${names.size} names; at most ${RECIPIENTS_LIMIT} at once`);
  return [...names.values()];
}

/** What is wrong with names that nobody can have: with one of them a message is a mistake, and goes to nobody. */
export function nameMistakes(names: readonly string[]): TalkError[] {
  return names.flatMap((name) => {
    try {
      validateTarget(name);
      return [];
    } catch (error) {
      if (error instanceof TalkError) return [error];
      throw error;
    }
  });
}
