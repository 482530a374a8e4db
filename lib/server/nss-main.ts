// The process that asks the host's user database. A service may hang for as long as it likes here: the server then ends this process
// and starts another one (user-database.ts).
import { connect } from "node:net";
import { askService } from "../net/accounts.ts";
import { NSS_UP, type NssAnswer, type NssQuestion } from "./nss-questions.ts";

/** Some builds of sssd's module say "no such user" while sssd is away: then no process listens here. */
const SSSD_PIPE = "/var/lib/sss/pipes/nss";

/** Ms that answers wait for others of the same batch: a write costs more than most answers. */
const BATCH_MS = 5;

process.on("message", (questions: readonly NssQuestion[]) => void answerAll(questions));
process.on("disconnect", () => process.exit());
process.send?.(NSS_UP);

/** A service may hang at any question: what others have said has left by then, and what this one has said, but for the last moment. */
async function answerAll(questions: readonly NssQuestion[]): Promise<void> {
  let answers: NssAnswer[] = [];
  let [service, since] = ["", performance.now()];
  const flush = (): void => {
    if (answers.length > 0) process.send?.(answers);
    answers = [];
    since = performance.now();
  };
  for (const question of questions) {
    if (question.service !== service || performance.now() - since > BATCH_MS) flush();
    service = question.service;
    answers.push(await answer(question));
  }
  flush();
}

async function answer({ id, service, user }: NssQuestion): Promise<NssAnswer> {
  const found = askService(service, user);
  const isDoubtful = found.is === "no" && service === "sss" && (await isSssdAway());
  return isDoubtful ? { id, is: "unknown" } : { id, ...found };
}

function isSssdAway(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path: SSSD_PIPE });
    const end = (isAway: boolean): void => {
      socket.destroy();
      resolve(isAway);
    };
    socket.once("error", () => end(true));
    socket.once("connect", () => end(false));
  });
}
