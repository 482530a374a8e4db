// REGISTER and UNREGISTER: a connection's client goes into the directory, and out of it. A registration, step by step:
//   1. The request is read; its version and its endpoints are checked.
//   2. The nonces of the connection's HELLO are used up, and the signature is checked.
//   3. The directory decides and writes (for shared memory: directory/shm/shm-directory.ts).
//   4. The registration that it replaces is told so. A client that has gone meanwhile is taken out again.
import { type ClientEndpoint, endpointProblem } from "../../base/endpoint.ts";
import { claimIdOf, isSigned, registrationBytes } from "../../crypto/signed-statements.ts";
import type { Registered } from "../../directory/directory.ts";
import { DirectoryError } from "../../directory/directory-error.ts";
import { PEER_PROTOCOL } from "../../directory/entry.ts";
import { CommandError, parseRegister, type RegisterArguments } from "../../wire/commands.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { takeStatement } from "../signed-request.ts";
import type { WorkerContext } from "../worker-context.ts";

/** Attempts at a registration whose outcome is unknown: with the same claim id, each finds what the one before has done. */
const MAX_ATTEMPTS = 3;

export const register: Handler = (context, connection, args) => {
  const request = parseRegister(args);
  if (connection.client !== null) {
    throw new CommandError("ERR this connection has registered already: UNREGISTER first");
  }
  const protocol = checkedProtocol(request.protocol);
  for (const endpoint of request.endpoints) checkEndpoint(endpoint);
  const statement = takeStatement(context, connection);
  if (!isSigned(registrationBytes({ ...statement, ...request, protocol }), request.key, request.signature)) {
    throw new CommandError("BADSIG the signature does not fit the key, the connection and the request");
  }
  return enter(context, connection, request, claimIdOf(statement.serverNonce));
};

export const unregister: Handler = async (context, connection) => {
  if (connection.client === null) throw new CommandError("NOAUTH this connection has not registered");
  await context.unregister(connection);
  connection.write((out) => out.simple("OK"));
};

/** Clients before version 2 do not say which version they speak. */
function checkedProtocol(protocol: number | null): number {
  if (protocol !== null && protocol >= PEER_PROTOCOL) return protocol;
  throw new CommandError(
    `ERR this server's clients speak version ${PEER_PROTOCOL} of the peer protocol, this one version ${protocol ?? 1}: upgrade it`,
  );
}

function checkEndpoint(endpoint: ClientEndpoint): void {
  const problem = endpointProblem(endpoint);
  if (problem !== null) throw new CommandError(`ERR an ENDPOINT cannot be used: ${problem}`);
  if (endpoint.kind === "observed") throw new CommandError("ERR an ENDPOINT cannot be used: only the server observes");
}

async function enter(
  context: WorkerContext,
  connection: Connection,
  request: RegisterArguments,
  claimId: string,
): Promise<void> {
  const { claim, replaced } = await registered(context, connection, request, claimId);
  connection.client = { claim, probe: request.probe };
  context.clients++;
  if (replaced !== null) void context.send({ type: "replaced", to: { ...replaced.place, claimId: replaced.claimId } });
  if (connection.gone) {
    await context.unregister(connection); // it left while it waited for the directory
    return;
  }
  context.log.info("joined", { name: request.name, address: connection.address, port: request.port });
  connection.write((out) => out.simple("OK"));
}

async function registered(
  { config, directory }: WorkerContext,
  connection: Connection,
  request: RegisterArguments,
  claimId: string,
): Promise<Registered> {
  const { name, key, host, port, protocol, takeover, replace } = request;
  const seen = { address: connection.address, port, kind: "host" } as const;
  const endpoints = request.endpoints.length > 0 ? request.endpoints : [seen];
  const entry = { name, key, host, endpoints, protocol: protocol ?? PEER_PROTOCOL, startedAt: Date.now() };
  const place = { worker: config.id, connection: connection.id };
  for (let attempt = 1; ; attempt++) {
    try {
      return await directory.register({ entry, claimId, place, takeover, replace });
    } catch (error) {
      const isUnknown = error instanceof DirectoryError && error.code === "try-again";
      if (!isUnknown || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}
