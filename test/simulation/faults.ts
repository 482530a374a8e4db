// Faults on purpose: what a checker of simulated lives has to find. Each replaces methods of the shipped classes, until it is undone, or
// stands between a server and its engine.
import { setTimeout as sleep } from "node:timers/promises";
import { AddressBook } from "../../lib/client/address-book.ts";
import { InboundMessages } from "../../lib/client/inbound.ts";
import { OutboundMessages } from "../../lib/client/outbound.ts";
import type { Engine, Transaction } from "../../lib/directory/etcd/engine.ts";
import { EventFeed } from "../../lib/directory/event-feed.ts";
import { HostedDirectory } from "../../lib/directory/hosted-directory.ts";
import { Inbox } from "../../lib/peer/stream/inbox.ts";
import { Outbox } from "../../lib/peer/stream/outbox.ts";
import { PeerTransport } from "../../lib/peer/transport.ts";
import { WorkerBus } from "../../lib/server/worker-bus.ts";
import { SeenIds } from "../../lib/store/seen-ids.ts";
import { changed } from "../directory/etcd/support/changed-engine.ts";
import type { ServerSabotage } from "./server.ts";

export interface Planted {
  readonly sabotage?: ServerSabotage;
  readonly undo: () => void;
}

/** Each plants its fault when it is called. */
export const FAULTS: Readonly<Record<string, () => Planted>> = {
  "what was shown is forgotten": () =>
    planted(
      replace(SeenIds, "has", () => async () => false),
      replace(SeenIds, "begin", () => () => () => {}),
    ),
  "confirmed before it is shown": () =>
    planted(
      replace(
        InboundMessages,
        "receive",
        (receive) =>
          function (this: InboundMessages, incoming, settle, output) {
            settle("accepted");
            return receive.call(this, incoming, () => {}, output);
          },
      ),
    ),
  "shown though its sender has given it up": () => planted(replace(Inbox, "begin", () => () => true)),
  "a message may overtake the one before it": () =>
    planted(
      replace(
        PeerTransport,
        "send",
        (send) =>
          async function (this: PeerTransport, ...args) {
            if (Math.random() < 0.1) await sleep(1);
            return await send.apply(this, args);
          },
      ),
    ),
  "a confirmation counts for the message behind it": () =>
    planted(
      replace(
        Outbox,
        "onSettled",
        (onSettled) =>
          function (this: Outbox<unknown>, upTo, refusals, now) {
            return onSettled.call(this, upTo + 1, refusals, now);
          },
      ),
    ),
  "nothing that was lost is sent again": () => planted(replace(Outbox, "onTimer", () => () => {})),
  "messages under way stay on their old way": () =>
    planted(
      replace(OutboundMessages, "follow", () => () => {}),
      replace(PeerTransport, "move", () => () => {}),
    ),
  "an address is kept for ever": () =>
    planted(
      replace(AddressBook, "learn", () => () => {}),
      replace(AddressBook, "onLeft", () => () => {}),
      replace(AddressBook, "lookup", (lookup) => {
        const known = new WeakMap<AddressBook, Map<string, ReturnType<typeof lookup>>>();
        return function (this: AddressBook, name) {
          const names = known.get(this) ?? new Map<string, ReturnType<typeof lookup>>();
          known.set(this, names);
          const answer = names.get(name) ?? lookup.call(this, name);
          names.set(name, answer);
          return answer;
        };
      }),
    ),
  "whose name is taken over does not hear of it": () => planted(replace(WorkerBus, "replaced", () => () => {})),
  "clients that have gone stay in the directory": () =>
    planted(replace(HostedDirectory, "remove", () => async () => true)),
  "clients hear nothing of other servers": () => planted(replace(EventFeed, "deliver", () => () => {})),
  "a claim that does not compare the row": () => ({
    sabotage: {
      engine: (engine) => comparing(engine, ({ then }, key) => isRemoval(then) || !key.startsWith("/t/n/")),
    },
    undo() {},
  }),
  "a server that writes without its lease": () => ({
    sabotage: { engine: (engine) => comparing(engine, (_, key) => !key.startsWith("/t/s/")) },
    undo() {},
  }),
  "a watch that loses the end of servers": () => ({
    sabotage: {
      engine: (engine) => ({
        ...changed(engine, {}),
        watch: (prefix, from, listener) =>
          engine.watch(prefix, from, {
            events: (events, state) => {
              const some = events.filter((event) => !("delete" in event && event.delete.startsWith("/t/s/")));
              if (some.length > 0) listener.events(some, state);
            },
            progress: (state) => listener.progress(state),
            ended: (why, error) => listener.ended(why, error),
          }),
      }),
    },
    undo() {},
  }),
};

type Method = (...args: never[]) => unknown;
type MethodsOf<T> = { [K in keyof T]: T[K] extends Method ? T[K] : never };

/** @returns what puts the shipped method back */
function replace<T extends object, K extends keyof MethodsOf<T> & string>(
  type: { readonly prototype: T },
  name: K,
  make: (shipped: MethodsOf<T>[K]) => MethodsOf<T>[K],
): () => void {
  const prototype = type.prototype as MethodsOf<T>;
  const shipped = prototype[name];
  prototype[name] = make(shipped);
  return () => {
    prototype[name] = shipped;
  };
}

function planted(...undo: readonly (() => void)[]): Planted {
  return {
    undo() {
      for (const one of undo) one();
    },
  };
}

const isRemoval = (then: Transaction["then"]): boolean =>
  then.some((one) => "delete" in one && one.delete.startsWith("/t/n/"));

/** @param keeps whether the compare of that key stays */
function comparing(engine: Engine, keeps: (transaction: Transaction, key: string) => boolean): Engine {
  const all = (transaction: Transaction): Transaction => {
    const inside = (operations: Transaction["then"]): Transaction["then"] =>
      operations.map((one) => ("transaction" in one ? { transaction: all(one.transaction) } : one));
    return {
      ...transaction,
      when: transaction.when.filter(({ key }) => keeps(transaction, key)),
      then: inside(transaction.then),
      otherwise: inside(transaction.otherwise),
    };
  };
  return changed(engine, { transact: (transaction, deadline) => engine.transact(all(transaction), deadline) });
}
