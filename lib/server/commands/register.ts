// REGISTER and UNREGISTER: a connection's client goes into the directory, and out of it. A registration, step by step:
//   1. The request is read; its version and its endpoints are checked.
//   2. The nonces of the connection's HELLO are used up, and the signature is checked. The primary says whose the name is by the accounts
//      of the host.
//   3. The directory decides and writes (for shared memory: directory/shm/shm-directory.ts). An attempt with an unknown outcome
//      is repeated under the same claim id. When the outcome stays unknown, the worker takes the row out later.
//   4. The client that it replaces gets a push, unless it is the same connection's. Before the registration counts, the worker checks whether the connection has
//      ended meanwhile, or another registration has replaced this one already.
import { setTimeout as sleep } from "node:timers/promises";
import {
  areSameEndpoints,
  type ClientEndpoint,
  endpointProblem,
  isSameEndpoint,
  MAX_ENDPOINTS,
} from "../../base/endpoint.ts";
import { foldIfValid, foldName } from "../../base/names.ts";
import { claimIdOf, registrationBytes } from "../../crypto/signed-statements.ts";
import type { Claim, Directory, DirectoryRow, Registered, RegisterRequest } from "../../directory/directory.ts";
import { PEER_PROTOCOL } from "../../directory/entry.ts";
import type { NameRight } from "../../directory/name-right.ts";
import { CommandError, parseRegister, type RegisterArguments } from "../../wire/commands.ts";
import { okFor, rightOfSpeaker } from "../attestation.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { MAX_REGISTER_ATTEMPTS, UNKNOWN_RETRY_MS } from "../limits.ts";
import { originText } from "../origin.ts";
import { checkSigned, followedBy, type SignedRequest } from "../signed-request.ts";
import { isUnknownOutcome, type WorkerContext } from "../worker-context.ts";

export const register: Handler = (context, connection, args) => {
  const request = parseRegister(args);
  // A client whose addresses have changed takes over from itself: others see one entry that changes.
  if (connection.client !== null && !continues(connection.client.claim, request)) {
    throw new CommandError("ERR this connection has registered already: UNREGISTER first, or TAKEOVER its claim id");
  }
  checkProtocol(request.protocol);
  for (const endpoint of request.endpoints) checkEndpoint(endpoint);
  const signed = checkSigned(context, connection, {
    ...request,
    bytes: (statement) => registrationBytes({ ...statement, ...request }),
    what: "the key, the connection and the request",
  });
  connection.prove(request.key);
  return enter(context, connection, request, signed);
};

export const unregister: Handler = async (context, connection) => {
  if (connection.client === null) throw new CommandError("NOAUTH this connection has not registered");
  await context.unregister(connection);
  connection.write((out) => out.simple("OK"));
};

function continues({ id, name }: Claim, request: RegisterArguments): boolean {
  return request.takeover === id && foldIfValid(request.name) === foldIfValid(name);
}

/** Later versions may register: a client decides by the entry's version whether it can talk to another. */
function checkProtocol(protocol: number): void {
  if (protocol >= PEER_PROTOCOL) return;
  throw new CommandError(
    `ERR clients of this server speak version ${PEER_PROTOCOL} of the peer protocol, this one version ${protocol}: upgrade it`,
  );
}

export function checkEndpoint(endpoint: ClientEndpoint): void {
  const problem = endpointProblem(endpoint);
  if (problem !== null) throw new CommandError(`ERR an ENDPOINT cannot be used: ${problem}`);
  if (endpoint.kind === "observed") throw new CommandError("ERR an ENDPOINT cannot be used: only the server observes");
}

async function enter(
  context: WorkerContext,
  connection: Connection,
  request: RegisterArguments,
  signed: SignedRequest,
): Promise<void> {
  const claimId = claimIdOf(signed.serverNonce);
  const pending = { claimId, isReplaced: false };
  context.registering.set(connection.id, pending);
  let registered: Registered;
  let right: NameRight;
  const entering = connection.client === null ? { origin: connection.origin, isBack: request.takeover !== null } : null;
  let isCounted = false;
  try {
    const follows = followedBy(connection, request.key);
    right = { ...(await rightOfSpeaker(context, request.name, signed, request.munge, entering)), follows };
    isCounted = entering !== null;
    registered = await write(context, connection, request, { claimId, right });
  } catch (error) {
    if (isCounted) context.clientGone(connection);
    throw error;
  } finally {
    context.registering.delete(connection.id);
  }
  const { claim, replaced } = registered;
  const renewed = connection.client;
  context.registrations++;
  if (replaced !== null && replaced.claimId !== renewed?.claim.id) {
    context.takeovers++;
    void context.send({ type: "replaced", to: { ...replaced.place, claimId: replaced.claimId } });
  }
  if (context.isStopping) return; // the connection ends, and its row goes with the directory
  connection.client = { claim, probe: request.probe };
  connection.provenName = foldName(claim.name);
  if (renewed === null) context.clients++;
  if (connection.gone) {
    await context.unregister(connection); // it left while it waited for the directory
    return;
  }
  const what = renewed === null ? "joined" : "changed";
  context.log.info(what, { name: request.name, address: originText(connection.origin), port: request.port });
  if (connection.observed !== null) await showObserved(context, connection);
  connection.write((out) => out.simple(okFor(right)));
  if (pending.isReplaced) context.endReplaced(connection, claim.name);
}

/** @throws DirectoryError */
async function write(
  context: WorkerContext,
  connection: Connection,
  { name, key, host, port, protocol, endpoints, takeover, replace, unlisted }: RegisterArguments,
  { claimId, right }: { readonly claimId: string; readonly right: NameRight },
): Promise<Registered> {
  const seen = { address: connection.address, port, kind: "host" } as const;
  const request: RegisterRequest = {
    entry: {
      name,
      key,
      host,
      endpoints: endpoints.length > 0 ? endpoints : [seen],
      protocol,
      startedAt: Date.now(),
      isUnattestedLogin: right.uid === null && typeof right.owner === "object",
      ...(right.uid === null
        ? {}
        : { uid: right.uid, user: right.login, attested: right.isMunge ? "munge" : "kernel" }),
      listed: !unlisted,
      server: context.config.serverName,
    },
    right,
    claimId,
    place: { worker: context.config.id, connection: connection.id },
    takeover,
    replace,
  };
  const { directory } = context;
  let before: DirectoryRow | null = null;
  for (let attempt = 1; ; attempt++) {
    try {
      if (takeover !== null || replace) before ??= await directory.find(name);
      const { claim, replaced } = await directory.register(continued(request, before));
      // An attempt that finds the work of an earlier one does not know what that has replaced.
      return { claim, replaced: replaced ?? (attempt > 1 ? liveOther(directory, before, claimId) : null) };
    } catch (error) {
      if (!isUnknownOutcome(error)) throw error;
      context.unknownOutcomes++;
      if (attempt === MAX_REGISTER_ATTEMPTS) {
        void context.abandon(name, claimId);
        throw error;
      }
      await sleep(UNKNOWN_RETRY_MS);
    }
  }
}

/** A client that comes back is on since it came first, in the rooms that it was in. A program that was started again is another one. */
function continued(request: RegisterRequest, before: DirectoryRow | null): RegisterRequest {
  if (before === null || before.claimId !== request.takeover || before.entry.key !== request.entry.key) return request;
  const { startedAt, status, rooms } = before.entry;
  return { ...request, entry: { ...request.entry, startedAt, status, rooms } };
}

/**
 * Puts the endpoint that the server has seen before those that the client has named. Where no NAT is in between it is one of
 * them, and nothing changes.
 */
export async function showObserved(context: WorkerContext, connection: Connection): Promise<void> {
  const { client, observed } = connection;
  const row = client === null ? null : await context.directory.own(client.claim);
  if (client === null || row === null || observed === null) return;
  const named = row.entry.endpoints.filter(({ kind }) => kind !== "observed");
  const isNamed = named.some((one) => isSameEndpoint(one, observed.address, observed.port));
  // A client guesses that a NAT keeps ports: what the server sees takes the place of the guess.
  const others = named.filter(({ address }) => address !== observed.address);
  const endpoints: ClientEndpoint[] = isNamed ? named : [{ ...observed, kind: "observed" }, ...others];
  const shown = endpoints.slice(0, MAX_ENDPOINTS);
  if (areSameEndpoints(shown, row.entry.endpoints)) return;
  const claim = await context.directory.update(client.claim, { endpoints: shown });
  if (connection.client === client) connection.client = { ...client, claim };
}

function liveOther(directory: Directory, row: DirectoryRow | null, claimId: string): Registered["replaced"] {
  if (row === null || row.claimId === claimId || !directory.isLive(row.place)) return null;
  return { place: row.place, claimId: row.claimId };
}
