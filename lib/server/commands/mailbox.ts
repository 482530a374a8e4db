// LEAVE, TAKE and DONE: messages for a user who is off. The primary holds the mailbox (mailbox-office.ts); this file
// reads a request and checks the client: one that has proved a key may leave a message, one that is on under a name
// gets the messages left for it.
import { foldName } from "../../base/names.ts";
import { checkedName } from "../../directory/claim-rules.ts";
import { CommandError, parseDone, parseLeave, parseTake } from "../../wire/commands.ts";
import type { Handler } from "../handler.ts";
import type { MailboxAnswer } from "../messages.ts";
import { boundKey } from "../origin.ts";
import type { WorkerContext } from "../worker-context.ts";

export const leave: Handler = async (context, connection, args) => {
  const { name, id, bytes, receipt } = parseLeave(args);
  const to = foldName(checkedName(name));
  if (connection.key === null) throw new CommandError("NOAUTH prove a key first, by CLAIM or REGISTER");
  const { origin, key } = connection;
  const answer = await context.askMailbox({
    ...{ op: "leave", to, id, from: key, bytes, receipt },
    ...{ account: boundKey(origin), attested: origin.uid !== null, sender: connection.provenName ?? "" },
  });
  if (answer.op !== "kept") throw refusal(answer);
  connection.write((out) => {
    out.array(2);
    out.bulk(new Date(answer.at).toISOString());
    out.bulk(new Date(answer.until).toISOString());
  });
  await tellOfMail(context, name, answer.waiting);
};

/** Only a hint: a client that comes on, or comes back, asks by itself. */
export async function tellOfMail(context: WorkerContext, name: string, count: number): Promise<void> {
  const to = context.calleeOf(await context.directory.find(name));
  // Those of another server go there themselves, see peers/mail-handover.ts.
  if (to !== null && to.elsewhere === undefined) await context.send({ type: "mail", to, count });
}

export const take: Handler = async (context, connection, args) => {
  const count = parseTake(args);
  if (connection.client === null) throw new CommandError("NOAUTH only a registered client has messages");
  const to = foldName(connection.client.claim.name);
  connection.hasTaken = true;
  const answer = await context.askMailbox({ op: "take", to, connection: connection.id, count });
  if (answer.op !== "taken") throw refusal(answer);
  if (connection.gone) {
    void context.send({ type: "mailbox-release", connection: connection.id });
    return;
  }
  connection.write((out) => {
    out.array(answer.messages.length);
    for (const { name, at, again, bytes } of answer.messages) {
      out.array(4);
      out.bulk(name);
      out.bulk(new Date(at).toISOString());
      out.integer(again ? 1 : 0);
      out.bulk(bytes);
    }
  });
};

export const done: Handler = async (context, connection, args) => {
  const { names, lost } = parseDone(args);
  const answer = await context.askMailbox({ op: "done", connection: connection.id, names, lost });
  if (answer.op !== "done") throw refusal(answer);
  connection.write((out) => out.simple("OK"));
};

function refusal(answer: MailboxAnswer): CommandError {
  const why = answer.op === "refused" ? answer.why : "failed";
  if (why === "none") return new CommandError("NOMAILBOX this server keeps no messages");
  if (why === "full") return new CommandError("MAILBOXFULL there is no room for more messages of yours");
  return new CommandError("TRYAGAIN the mailbox cannot be written or read");
}
