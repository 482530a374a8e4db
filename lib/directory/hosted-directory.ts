// The directory of a worker whose host makes the changes: for one that many servers share. It reads the table of the host's machine as
// any other, and asks the host for everything else. The host has the table changed when it answers.
import { foldForLookup } from "../base/names.ts";
import { checkedName, checkedRequest, checkKey } from "./claim-rules.ts";
import type {
  Claim,
  ConnectionPlace,
  Directory,
  DirectoryConfig,
  DirectoryEvent,
  DirectoryPage,
  DirectoryRow,
  EntryChanges,
  HostAnswer,
  HostRequest,
  Interest,
  NameBinding,
  Registered,
  RegisterRequest,
  ReplyCache,
} from "./directory.ts";
import { DirectoryError } from "./directory-error.ts";
import { DirectoryEntry } from "./entry.ts";
import type { NameRight } from "./name-right.ts";

/** The table of this machine, read in this process. */
export interface LocalTable extends Directory {
  find(name: string): DirectoryRow | null;
  own(claim: Claim): DirectoryRow | null;
  page(cursor: number, limit: number): DirectoryPage;
  members(room: string): readonly DirectoryRow[];
  names(prefix: string, limit: number): readonly string[];
  emit(event: DirectoryEvent): void;
}

type Done = Extract<HostAnswer, { is: "done" }>;

export class HostedDirectory implements Directory {
  readonly #table: LocalTable;
  readonly #askHost: (request: HostRequest) => Promise<HostAnswer>;
  #live: readonly number[] = [];
  #isAway: boolean;

  constructor(table: LocalTable, ask: (request: HostRequest) => Promise<HostAnswer>, isAway: boolean) {
    this.#table = table;
    this.#askHost = ask;
    this.#isAway = isAway;
  }

  get count(): number {
    return this.#table.count;
  }
  get capacity(): number {
    return this.#table.capacity;
  }
  /** A reply that is kept does not say that it is stale. */
  get replies(): ReplyCache | null {
    return this.#isAway ? null : this.#table.replies;
  }

  async register(request: RegisterRequest): Promise<Registered> {
    checkedRequest(request);
    const { claim, replaced = null } = await this.#ask({ op: "register", request, live: this.#live });
    return { claim: claim as Claim, replaced };
  }

  async update(claim: Claim, changes: EntryChanges): Promise<Claim> {
    const answer = await this.#ask({ op: "update", claim, changes });
    return answer.claim as Claim;
  }

  async remove(claim: Claim): Promise<boolean> {
    return (await this.#ask({ op: "remove", claim })).was === true;
  }

  /** At once if the table has it; otherwise the engine is asked: its answer is in the table then. */
  find(name: string): DirectoryRow | null | Promise<DirectoryRow | null> {
    const row = this.#table.find(name);
    if (row !== null) return this.#shown(row);
    if (foldForLookup(name) === null) return null;
    return this.#ask({ op: "ask", name }).then(() => this.#table.find(name));
  }

  own(claim: Claim): DirectoryRow | null {
    return this.#table.own(claim);
  }

  page(cursor: number, limit: number): DirectoryPage {
    const page = this.#table.page(cursor, limit);
    return this.#isAway ? { ...page, rows: page.rows.map((row) => this.#shown(row)) } : page;
  }

  members(room: string): readonly DirectoryRow[] {
    const rows = this.#table.members(room);
    return this.#isAway ? rows.map((row) => this.#shown(row)) : rows;
  }

  names(prefix: string, limit: number): readonly string[] {
    return this.#table.names(prefix, limit);
  }

  async ownerOf(name: string): Promise<string | null> {
    const owner = await this.#table.ownerOf(name);
    if (owner !== null || foldForLookup(name) === null) return owner;
    await this.#ask({ op: "ask", name });
    return this.#table.ownerOf(name);
  }

  async bindingOf(name: string): Promise<NameBinding | null> {
    const binding = await this.#table.bindingOf(name);
    if (binding !== null || foldForLookup(name) === null) return binding;
    await this.#ask({ op: "ask", name });
    return this.#table.bindingOf(name);
  }

  async bind(name: string, key: string, right?: NameRight): Promise<void> {
    checkedName(name);
    checkKey(key);
    await this.#ask({ op: "bind", name, key, right });
  }

  async release(name: string): Promise<boolean> {
    checkedName(name);
    return (await this.#ask({ op: "release", name })).was === true;
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    return this.#table.watch(interest, listener);
  }
  lookedUp(claim: Claim, at: number): void {
    this.#table.lookedUp(claim, at);
  }
  deliver(events: readonly DirectoryEvent[]): void {
    this.#table.deliver(events);
  }
  setLiveWorkers(ids: Iterable<number>): void {
    this.#live = [...ids];
    this.#table.setLiveWorkers(this.#live);
  }
  isLive(place: ConnectionPlace): boolean {
    return this.#table.isLive(place);
  }
  setAway(isAway: boolean): void {
    this.#isAway = isAway;
  }
  reopen(config: DirectoryConfig): void | Promise<void> {
    return this.#table.reopen(config);
  }
  close(): void {
    this.#table.close();
  }

  async #ask(request: HostRequest): Promise<Done> {
    const answer = await this.#askHost(request);
    if (answer.is === "refused") {
      const { code, message, holder, isRefusal } = answer;
      throw new DirectoryError(code, message, { isRefusal, ...(holder === null ? {} : { holder }) });
    }
    if (answer.event) this.#table.emit(answer.event);
    return answer;
  }

  /** While the engine is away, rows of other servers may be out of date. */
  #shown(row: DirectoryRow): DirectoryRow {
    if (!this.#isAway) return row;
    const { packed, lastLookupAt } = row.entry;
    return { ...row, entry: new DirectoryEntry(packed, lastLookupAt, true) };
  }
}
