// A directory that answers late, or cannot say what has become of a write: what clients hear, and what is left.
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Directory, DirectoryPage, DirectoryRow, RegisterRequest } from "../../lib/directory/directory.ts";
import { DirectoryError } from "../../lib/directory/directory-error.ts";
import type { DirectoryEntry } from "../../lib/directory/entry.ts";
import { defaultLimits } from "../../lib/server/limits.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import { newKeys, registerCommand, until } from "../helpers/lookup-server.ts";
import { standIn, WorkerHost } from "../helpers/worker-host.ts";

const tryAgain = expect.objectContaining({ code: "TRYAGAIN" });
const unknown = () => DirectoryError.tryAgain("no answer from the engine");

/** The first calls with an outcome that is not known. @param happens whether the write is done all the same */
function uncertain(calls: number, happens: (call: number) => boolean): (memory: Directory) => Directory {
  let call = 0;
  return (memory) =>
    standIn(memory, {
      register(request) {
        call++;
        if (call > calls) return memory.register(request);
        if (happens(call)) void memory.register(request);
        throw unknown();
      },
    });
}

interface Held {
  readonly request: RegisterRequest;
  readonly answer: () => void;
}

/** Registrations are done at once, and answered when the test says so. */
function held(answers: Held[]): (memory: Directory) => Directory {
  return (memory) =>
    standIn(memory, {
      async register(request) {
        const registered = await memory.register(request);
        await new Promise<void>((answer) => answers.push({ request, answer }));
        return registered;
      },
    });
}

describe("a registration with an unknown outcome", () => {
  it.each([
    ["has happened", true],
    ["has not happened", false],
  ])("that %s is repeated, and done once", async (_what, happens) => {
    await using host = await WorkerHost.start({ directory: uncertain(2, (call) => happens && call === 1) });
    const [watcher, client] = [await host.client(), await host.client()];
    await watcher.ask("WATCH");
    expect(await client.register("bob", newKeys())).toBe("OK");
    expect((await host.memory.find("bob"))?.claimId).toBe(client.claimId);
    expect(await watcher.ask("COUNT")).toBe(1);
    expect(watcher.pushes.map(([kind, name]) => `${kind} ${name}`)).toEqual(["joined bob"]);
    expect(await host.load()).toMatchObject({ registrations: 1, unknownOutcomes: 2, clients: 1 });
    client.close();
    expect(await watcher.push("left")).toEqual(["left", "bob"]);
  });

  it("that replaced another one has told it so", async () => {
    await using host = await WorkerHost.start();
    const keys = newKeys();
    const first = await host.client();
    await first.register("bob", keys);
    const row = await host.memory.find("bob");
    expect(row).not.toBeNull();
    const { register } = host.memory;
    let calls = 0;
    host.memory.register = (request) => {
      const registered = register.call(host.memory, request);
      if (++calls === 1) throw unknown();
      return registered;
    };
    const second = await host.client();
    expect(await second.register("bob", keys, { takeover: first.claimId })).toBe("OK");
    expect(calls).toBe(2);
    expect(await first.push("replaced")).toEqual(["replaced", "bob"]);
    await first.closed;
    expect(await host.load()).toMatchObject({ takeovers: 1, clients: 1 });
  });

  it.each([
    ["at once", 0],
    ["when its client has been told", 500],
  ])("that stays unknown is -TRYAGAIN; what it leaves when it happens %s goes again", async (_what, delayMs) => {
    let isAway = true;
    let happened = 0;
    const directory = (memory: Directory) =>
      standIn(memory, {
        register(request) {
          if (!isAway) return memory.register(request);
          setTimeout(() => {
            void memory.register(request);
            happened++;
          }, delayMs);
          throw unknown();
        },
        // Once a later write has an answer, an earlier one changes nothing any more: that is the directory's contract.
        remove(claim) {
          if (isAway) throw unknown();
          return memory.remove(claim);
        },
      });
    await using host = await WorkerHost.start({ directory });
    const client = await host.client();
    const keys = newKeys();
    expect(await client.register("bob", keys)).toEqual(tryAgain);
    await until("each attempt to happen", () => happened === 3);
    expect((await host.memory.find("bob"))?.claimId).toBe(client.claimId);
    isAway = false;
    await until("it to be taken out", async () => (await host.memory.find("bob")) === null);
    expect(await client.register("bob", keys)).toBe("OK");
    expect((await host.load()).clients).toBe(1);
  });

  it("is continued by its client, which knows its claim id, on any connection", async () => {
    await using host = await WorkerHost.start({ directory: uncertain(3, (call) => call === 3) });
    const [client, next] = [await host.client(), await host.client()];
    const keys = newKeys();
    expect(await client.register("bob", keys)).toEqual(tryAgain);
    expect(await next.register("bob", keys, { takeover: client.claimId })).toBe("OK");
    await sleep(300);
    expect((await host.memory.find("bob"))?.claimId).toBe(next.claimId);
  });
});

describe("a registration that waits for the directory", () => {
  it.each(["by its client", "by its client, with a reset", "by the server"])(
    "leaves nothing when its connection is ended meanwhile %s",
    async (how) => {
      const answers: Held[] = [];
      const limits = { ...defaultLimits(64), unsentBytes: 2_000 };
      await using host = await WorkerHost.start({ directory: held(answers), config: { limits } });
      const [watcher, client] = [await host.client(), await host.client()];
      await watcher.ask("WATCH");
      const statement = await client.hello();
      await client.ask("WATCH");
      client.socket.write(encodeCommand(registerCommand(statement, "bob", newKeys())));
      await until("the registration", () => answers.length === 1);
      if (how === "by its client") client.close();
      else if (how === "by the server") {
        // More pushes wait behind its reply than may.
        const { request } = answers[0] as Held;
        for (let i = 0; i < 10; i++) {
          const entry = { ...request.entry, name: `other${i}` };
          void host.memory.register({ ...request, entry, claimId: `otherclaimid/00${i}` });
        }
        await client.closed;
      } else client.socket.resetAndDestroy();
      expect(await watcher.ask("LOOKUP", "bob")).toBeInstanceOf(Map);
      answers[0]?.answer();
      expect(await watcher.push("left")).toEqual(["left", "bob"]);
      expect(await host.load()).toMatchObject({ clients: 0, connections: 1 });
    },
  );

  it("and is replaced before it has its answer hears both, in that order", async () => {
    const answers: Held[] = [];
    await using host = await WorkerHost.start({ directory: held(answers) });
    const [first, second] = [await host.client(), await host.client()];
    const keys = newKeys();
    const [firstReply, secondReply] = [first.register("bob", keys), second.hello()];
    await secondReply;
    await until("the first registration", () => answers.length === 1);
    const reply = second.register("bob", keys, { replace: true });
    await until("the second registration", () => answers.length === 2);
    answers[1]?.answer();
    expect(await reply).toBe("OK");
    await sleep(50); // `replaced` has come to the first one's worker
    expect(first.pushes).toEqual([]);
    answers[0]?.answer();
    expect(await firstReply).toBe("OK");
    expect(await first.push("replaced")).toEqual(["replaced", "bob"]);
    await first.closed;
    expect((await host.memory.find("bob"))?.claimId).toBe(second.claimId);
    await until("the worker to notice", async () => (await host.load()).clients === 1);
  });

  it("is not what makes room for a new connection", async () => {
    const answers: Held[] = [];
    await using host = await WorkerHost.start({ directory: held(answers) });
    const [client, idle] = [await host.client(), await host.client()];
    const registered = client.register("bob", newKeys());
    await until("the registration", () => answers.length === 1);
    host.full = true;
    const newcomer = await host.client();
    await idle.closed;
    expect(idle.pushes).toEqual([["closing", "full"]]);
    answers[0]?.answer();
    expect(await registered).toBe("OK");
    expect(await newcomer.ask("COUNT")).toBe(1);
  });

  it("ends with its worker", async () => {
    const answers: Held[] = [];
    const host = await WorkerHost.start({ directory: held(answers) });
    const client = await host.client();
    const reply = client.tell("PING").then(() => client.register("bob", newKeys()).catch(() => "closed"));
    await until("the registration", () => answers.length === 1);
    host.worker.stop("over");
    answers[0]?.answer();
    await client.closed;
    expect((await host.load()).clients).toBe(0);
    await host[Symbol.asyncDispose]();
    expect(host.errors).toEqual([]);
    void reply;
  });

  it("holds back the connection's pushes and later requests, and no other connection", async () => {
    const answers: Held[] = [];
    await using host = await WorkerHost.start({ directory: held(answers) });
    const [client, other] = [await host.client(), await host.client()];
    await client.ask("WATCH");
    const registered = client.register("bob", newKeys());
    await until("the registration", () => answers.length === 1);
    const pong = client.tell("PING");
    expect(await other.ask("PING")).toBe("PONG");
    expect(client.pushes).toEqual([]);
    answers[0]?.answer();
    expect(await registered).toBe("OK");
    expect(await pong).toBe("PONG");
    expect((await client.push("joined"))[1]).toBe("bob");
  });
});

describe("a client that leaves while the directory cannot be asked", () => {
  /** The first removals fail so. */
  const removals = (failures: number, error: () => Error) => (memory: Directory) => {
    let calls = 0;
    return standIn(memory, {
      remove(claim) {
        if (++calls <= failures) throw error();
        return memory.remove(claim);
      },
    });
  };

  it("by UNREGISTER has its answer when it is out", async () => {
    await using host = await WorkerHost.start({ directory: removals(3, unknown) });
    const client = await host.client();
    await client.register("bob", newKeys());
    expect(await client.ask("UNREGISTER")).toBe("OK");
    expect(await host.memory.find("bob")).toBeNull();
    expect(await host.load()).toMatchObject({ clients: 0, unknownOutcomes: 3 });
  });

  it("by the end of its connection is taken out as soon as it can be", async () => {
    await using host = await WorkerHost.start({ directory: removals(3, unknown) });
    const client = await host.client();
    await client.register("bob", newKeys());
    client.close();
    await until("it to be out", async () => (await host.memory.find("bob")) === null);
    expect(host.errors).toEqual([]);
  });

  it("costs the worker nothing when the directory fails", async () => {
    await using host = await WorkerHost.start({ directory: removals(1, () => new Error("disk on fire")) });
    const [client, other] = [await host.client(), await host.client()];
    await client.register("bob", newKeys());
    client.close();
    await until("the failure", () => host.warnings.length > 0);
    expect(host.warnings).toEqual(["a client could not be taken out"]);
    expect(await other.ask("PING")).toBe("PONG");
  });
});

describe("while the directory cannot be asked", () => {
  const away = (memory: Directory) => {
    const refuse = (): never => {
      throw unknown();
    };
    return standIn(memory, { find: refuse, own: refuse, page: refuse, ownerOf: refuse, bind: refuse });
  };

  it.each([[["LOOKUP", "bob"]], [["ALL"]], [["ALL", "CURSOR", "0"]], [["KEY", "bob"]], [["CALL", "bob"]]])(
    "%j is -TRYAGAIN, and never an answer that there is nothing",
    async (request) => {
      await using host = await WorkerHost.start({ directory: away });
      const client = await host.client();
      await client.register("caller", newKeys());
      expect(await client.ask(...request)).toEqual(tryAgain);
      expect(await client.ask("PING")).toBe("PONG");
    },
  );

  it("CLAIM is -TRYAGAIN, and may be repeated", async () => {
    await using host = await WorkerHost.start({ directory: away });
    const client = await host.client();
    for (let i = 0; i < 2; i++) expect(await client.claim("bob", newKeys())).toEqual(tryAgain);
  });
});

it("a reply that cannot be written to its end is an error, and the next one is whole", async () => {
  await using host = await WorkerHost.start({
    directory: (memory) =>
      standIn(memory, {
        page(cursor, limit) {
          const { rows } = memory.page(cursor, limit) as DirectoryPage;
          const broken = { ...(rows[0] as DirectoryRow), entry: { name: "broken", listed: true } as DirectoryEntry };
          return { cursor: 0, rows: [...rows, broken] };
        },
      }),
  });
  const client = await host.client();
  await client.register("bob", newKeys());
  expect(await client.ask("ALL", "CURSOR", "0")).toMatchObject({ code: "ERR", message: "internal error" });
  expect(await client.ask("PING")).toBe("PONG");
  expect(host.errors).toEqual(["request failed"]);
});

it("replies keep the order of the requests, however late the directory answers each", async () => {
  const delays = [30, 0, 20, 10];
  await using host = await WorkerHost.start({
    directory: (memory) =>
      standIn(memory, {
        find: async (name) => {
          await sleep(delays.shift());
          return memory.find(name);
        },
      }),
  });
  const client = await host.client();
  await client.register("bob", newKeys());
  const replies = await Promise.all([
    client.ask("LOOKUP", "bob"),
    client.ask("LOOKUP", "nobody"),
    client.ask("PING"),
    client.ask("LOOKUP", "bob"),
    client.ask("LOOKUP", "nobody"),
    client.ask("PING", "last"),
  ]);
  expect(replies).toEqual([expect.any(Map), null, "PONG", expect.any(Map), null, "last"]);
});
