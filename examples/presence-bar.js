// One line for a status bar, new whenever somebody comes or goes: node presence-bar.js [HOST:PORT]
// In tmux: set -g status-right '#(node presence-bar.js)'. It reads the directory and registers no name, so others do not see it.
import { Directory, TalkError } from "ptalk";

const [host, port] = (process.argv[2] ?? "127.0.0.1:5518").split(":");
const EVERY_MS = 500;
const MOST = 5;

let shown;

/** The server's table in shared memory: to look costs no message. Opened anew each time: a server that starts again has another one. */
function look() {
  let directory;
  try {
    directory = Directory.open({ address: host, port: Number(port) });
    const names = Array.from(directory.all(), ({ name }) => name).sort();
    const more = names.length > MOST ? ` and ${names.length - MOST} more` : "";
    return names.length === 0 ? "nobody is on" : `${names.length} on: ${names.slice(0, MOST).join(", ")}${more}`;
  } catch (error) {
    if (!(error instanceof TalkError)) throw error;
    return "no server";
  } finally {
    directory?.close();
  }
}

const timer = setInterval(() => {
  const line = look();
  if (line !== shown) console.log(line);
  shown = line;
}, EVERY_MS);

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => clearInterval(timer));
process.stdout.once("error", () => process.exit(0)); // the bar is gone
