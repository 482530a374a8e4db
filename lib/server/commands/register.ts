// REGISTER and UNREGISTER: who is on. Whoever registers proves the key; who had the name first keeps it.
import { isIP } from "node:net";
import { verifyRegistration } from "../../crypto/signed-statements.ts";
import type { ClientEntry } from "../../directory/entry-wire.ts";
import type { ClientInput, FoundRecord } from "../../directory/shm/stored-entry.ts";
import { CommandError, parseRegister, type RegisterArguments } from "../../wire/commands.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../dispatch.ts";
import type { WorkerContext } from "../worker-context.ts";
import { asCommandError, checkName, checkOwner, takeNonce } from "./names.ts";

export const register: Handler = (service, connection, args) => {
  const request = parseRegister(args);
  if (connection.client !== null)
    throw new CommandError("ERR this connection has registered already: UNREGISTER first");
  const folded = checkName(request.name);
  for (const address of request.addresses) checkAddress(address);
  if (!verifyRegistration({ nonce: takeNonce(connection), ...request }, request.key, request.signature)) {
    throw new CommandError("BADSIG the signature does not fit the key, the nonce, the name and the endpoints");
  }
  return enter(service, connection, request, folded);
};

export const unregister: Handler = async (service, connection) => {
  if (connection.client === null) throw new CommandError("NOAUTH this connection has not registered");
  await service.unregister(connection);
  connection.write((out) => out.simple("OK"));
};

function checkAddress(address: string): void {
  const family = isIP(address);
  const useless =
    family === 4 ? /^(0|22[4-9]|2[3-5]\d)\./.test(address) : /^::$|^ff/i.test(address) || address.includes("%");
  if (family === 0 || useless) {
    throw new CommandError("ERR ADDR is an IPv4 or IPv6 address of one host, without a zone");
  }
}

async function enter(
  service: WorkerContext,
  connection: Connection,
  request: RegisterArguments,
  folded: string,
): Promise<void> {
  const { table, config, writes, bindings } = service;
  const addresses = request.addresses.length > 0 ? request.addresses : [connection.address];
  const { name, key, port, host } = request;
  const startedAt = Date.now();
  const input = {
    name,
    key,
    port,
    host,
    addresses,
    startedAt,
    pid: 0,
    startTime: 0,
    owner: config.id,
    connection: connection.id,
  };

  const { handle, before } = await writes
    .run(() => {
      const before = checkRoom(service, request, folded);
      if (before !== null) {
        bindings.note(folded, key); // first: if that fails, the older record stays
        return { before, handle: table.replace(before.slot, input) };
      }
      const handle = table.insert(input);
      // Only now: what the table refuses binds no name.
      try {
        bindings.note(folded, key);
      } catch (error) {
        table.remove(handle.slot, handle.version);
        throw error;
      }
      return { before, handle };
    })
    .catch((error) => {
      throw asCommandError(error);
    });

  connection.client = { name, slot: handle.slot, version: handle.version, probe: request.probe };
  service.clients++;
  if (before !== null && service.owners.has(before.record.owner)) {
    const { owner, connection: older, name: olderName } = before.record;
    void service.send({ type: "replaced", to: { owner, connection: older, name: olderName } });
  }
  if (connection.gone) {
    await service.unregister(connection); // it left while it waited for the lock
    return;
  }
  service.announcer.announce({
    kind: "joined",
    version: handle.version,
    client: { ...entryOf(input), lastLookupAt: null },
  });
  service.log.info("joined", { name, address: addresses[0], port });
  connection.write((out) => out.simple("OK"));
}

/** What others may see of it; the rest is between the processes of the server. */
function entryOf({ name, key, port, host, addresses, startedAt }: ClientInput): Omit<ClientEntry, "lastLookupAt"> {
  return { name, key, port, host, addresses, startedAt };
}

/** Caller holds the write lock. @returns the record to be replaced, null if there is none */
function checkRoom(service: WorkerContext, request: RegisterArguments, folded: string): FoundRecord | null {
  const { table, bindings } = service;
  bindings.refresh();
  checkOwner(bindings, folded, request.key);
  const before = table.find(request.name);
  if (before !== null) {
    const { record } = before;
    // The record of a worker that died is its client's to come back to.
    const mayReplace = record.key === request.key && (request.takeover || !service.owners.has(record.owner));
    if (!mayReplace) throw new CommandError("TAKEN the name is in use");
  } else if (table.count >= table.capacity) {
    throw new CommandError(`FULL there is room for ${table.capacity} clients: try again when somebody has left`);
  }
  bindings.checkRoom(folded, request.key);
  return before;
}
