// A conversation for programs: one JSON object a line. The events: json.ts.
import { historyJson } from "../../store/history/record.ts";
import { fileJson } from "../files.ts";
import {
  deliveredJson,
  failedJson,
  type JsonEvent,
  keptJson,
  localJson,
  messageJson,
  pathJson,
  receiptJson,
  registeredJson,
  roomJson,
  roomResultJson,
  sentJson,
  unconfirmedJson,
} from "../json.ts";
import { describeError, printJson } from "../output.ts";
import { TALK_HELP } from "./input.ts";
import type { View } from "./view.ts";

export function jsonView(): View {
  // A failure to print is not lost: stdout's own "error" ends the command.
  const show = (event: JsonEvent): void => void printJson(event).catch(() => {});
  return {
    registered: (client, requested) => show(registeredJson(client, requested)),
    message: (message) => printJson(messageJson(message)),
    sent: (event) => show(sentJson(event)),
    delivered: (event) => show(deliveredJson(event)),
    failed: (event) => show(failedJson(event)),
    path: (event) => show(pathJson(event)),
    room: (event) => show(roomJson(event)),
    roomResult: (result) => show(roomResultJson(result)),
    entered: () => {},
    members: (room, clients) => show({ type: "members", room, clients: clients.map((entry) => entry.toJSON()) }),
    unconfirmed: (event) => show(unconfirmedJson(event)),
    kept: (event) => show(keptJson(event)),
    receipt: (event) => show(receiptJson(event)),
    all: (clients) => show({ type: "all", clients: clients.map((entry) => entry.toJSON()) }),
    list: (clients) => show({ type: "list", clients: clients.map(localJson) }),
    stats: (stats) => show({ type: "stats", ...stats }),
    file: (news) => show(fileJson(news)),
    folded: ({ from, count }) => show({ type: "folded", from, count }),
    ignored: (names) => show({ type: "ignored", names }),
    history: (records) => show({ type: "history", records: records.map(historyJson) }),
    past: () => {},
    missed: (records) => {
      if (records.length > 0) show({ type: "history", records: records.map(historyJson) });
    },
    help: () => void process.stderr.write(`${TALK_HELP.join("\n")}\n`),
    peer: ({ name, state }) => show({ type: "peer", name, state }),
    status: ({ name, state, text }) => show({ type: "status", name, state, text }),
    ownStatus: () => {},
    server: ({ state, address, uid, user }) => show({ type: "server", state, address, uid, user }),
    error: (error) => show({ type: "error", ...describeError(error) }),
    partner: () => {},
    off: () => {},
    whenOff: () => {},
    absent: () => {},
    met: () => {},
    restore: () => {},
    exit: () => show({ type: "exit" }),
    [Symbol.dispose]: () => {},
  };
}
