// The checker of messages by itself: what it lets pass, and what it does not.
import { beforeEach, describe, expect, it } from "vitest";
import { Journal, type Speaker } from "./journal.ts";
import { Process } from "./world.ts";

const KEYS = { ann: "SHA256:ann", bob: "SHA256:bob" };

function speaker(name: keyof typeof KEYS, run = 1): Speaker {
  return { name, run, process: new Process(`${name}.${run}`, "10.0.0.1") };
}

describe("the journal of a simulated world", () => {
  let now = 0;
  let violations: string[] = [];
  let journal: Journal;
  let ann: Speaker;
  let bob: Speaker;
  const say = (text: string, number: number) => journal.sent(ann, "bob", text, number);
  const show = (text: string, by = bob, fingerprint = KEYS.ann) =>
    journal.shown(by, { from: "ann", text, fingerprint });

  beforeEach(() => {
    [now, violations] = [0, []];
    journal = new Journal(
      () => now,
      (what) => violations.push(what),
    );
    for (const [name, fingerprint] of Object.entries(KEYS)) journal.met(name, fingerprint);
    [ann, bob] = [speaker("ann"), speaker("bob")];
  });

  it("lets a conversation pass, and what is sent again under its id", () => {
    say("a", 1);
    say("b", 2);
    show("a");
    journal.outcome("a", "delivered");
    journal.outcome("b", "unconfirmed");
    say("c", 3);
    show("c");
    say("b", 2);
    show("b");
    journal.outcome("b", "delivered");
    expect(violations).toEqual([]);
    expect(journal.undelivered(["a", "b", "c"])).toEqual(["c"]);
  });

  it("lets a text come again to a successor of a program that ended before its sender knew", () => {
    say("a", 1);
    show("a");
    bob.process.endedAt = ++now;
    show("a", speaker("bob", 2));
    expect(violations).toEqual([]);
  });

  it("lets a program show what its successor has shown, while it has not heard that its name was taken over", () => {
    say("a", 1);
    const old = speaker("bob", 2);
    old.process.endedAt = now++;
    show("a");
    show("a", old);
    expect(violations).toEqual([]);
  });

  it.each<[string, RegExp, () => void]>([
    ["a text that comes twice to one program", /once more/, () => [show("a"), show("a")]],
    ["a text that comes to two programs that are on", /once more/, () => [show("a"), show("a", speaker("bob", 2))]],
    [
      "a text that comes to a successor though its sender knew",
      /once more/,
      () => {
        show("a");
        journal.outcome("a", "delivered");
        bob.process.endedAt = ++now;
        show("a", speaker("bob", 2));
      },
    ],
    ["a confirmation of what nobody has shown", /was not shown/, () => journal.outcome("a", "delivered")],
    ["a failure of what was shown", /has failed, and was shown/, () => [show("a"), journal.outcome("a", "failed")]],
    ["a text that is shown after it has failed", /which has failed/, () => [journal.outcome("a", "failed"), show("a")]],
    ["a text that overtakes", /behind ann\.1's 2/, () => [say("b", 2), show("b"), show("a")]],
    ["another one's key", /the key is another's/, () => show("a", bob, KEYS.bob)],
    ["a text at somebody else's", /never sent that there/, () => show("a", ann)],
    ["a text that nobody has said", /never sent that there/, () => show("z")],
    [
      "a text that was given up though nothing was in its way",
      /was given up/,
      () => {
        journal.isGentle = true;
        journal.outcome("a", "failed", "not-delivered");
      },
    ],
    ["a text of which nothing has become", /nothing became of a/, () => journal.checkSettled()],
  ])("finds %s", (_, expected, act) => {
    say("a", 1);
    act();
    expect(violations.join()).toMatch(expected);
  });
});
