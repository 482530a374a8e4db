// What a lookup server needs before it can be one: the listening sockets, its state directory, its certificate. All of
// it or nothing. The process that holds the socket is the server of that address: only then does it make its objects in
// shared memory (lookup-server.ts).
import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { DEFAULT_HOST, isLoopback } from "../base/server-address.ts";
import { Acceptor, listenError, wrongSocket } from "./acceptor.ts";
import { checkDescriptors } from "./descriptors.ts";
import { LocalSockets } from "./local-sockets.ts";
import { MailboxOffice } from "./mailbox-office.ts";
import { MetricsEndpoint } from "./metrics-endpoint.ts";
import type { ServerSettings } from "./options.ts";
import { PeerListener } from "./peers/peer-links.ts";
import { openStateDir, passingState, type StateDir } from "./server-state.ts";
import { loadTls, type TlsFiles } from "./tls.ts";

export interface Resources {
  readonly settings: ServerSettings;
  readonly acceptor: Acceptor;
  readonly sockets: LocalSockets;
  readonly state: StateDir;
  readonly mailbox: MailboxOffice;
  readonly metrics: MetricsEndpoint | null;
  /** For the other servers of the directory; null without links to them. */
  readonly peers: PeerListener | null;
  readonly tls: TlsFiles | null;
  /** Undoes all of it: for when no server came of it. */
  readonly release: () => void;
}

/** @throws TalkError, or what the system says; nothing is left then */
export async function acquireResources(settings: ServerSettings): Promise<Resources> {
  const { signal, log } = settings;
  checkDescriptors(settings.workers);
  if (settings.listenFd === null) refuseExposure(settings, settings.listen.host);
  const acceptor = await listen(settings);
  const undo: (() => void)[] = [() => acceptor.close()];
  const release = () => {
    for (const step of undo.splice(0).reverse()) step();
  };
  try {
    signal?.throwIfAborted();
    refuseExposure(settings, acceptor.address.host); // a socket that was handed over, too
    const { port } = acceptor.address;
    const sockets = await LocalSockets.open({ path: settings.socket, fd: settings.socketFd }, log);
    undo.push(() => sockets.close());
    const metrics =
      settings.metrics === null ? null : await MetricsEndpoint.listen(settings.metrics, settings.insecure, log);
    undo.push(() => metrics?.close());
    const picked = settings.listenFd === null && settings.listen.port === 0;
    const state = settings.ephemeral
      ? passingState()
      : await openStateDir(settings.stateDir, picked ? null : port, log);
    undo.push(() => state.release());
    const { mailbox: keeps, mailboxSize: bytes, mailboxAge } = settings;
    const folder = keeps && state.path !== null ? join(state.path, "mailbox") : null;
    const mailbox = await MailboxOffice.open({
      path: folder,
      limits: { bytes, ageMs: mailboxAge * 1000 },
      serverSeed: state.serverSeed,
      log,
    });
    undo.push(() => void mailbox.close());
    const tls = await loadTls(settings, state.path);
    const { peerListen } = settings;
    const peerTls = peerListen === null ? null : (tls ?? (await loadTls({ ...settings, tls: true }, state.path)));
    const peers = peerListen === null || peerTls === null ? null : await PeerListener.listen(peerListen, peerTls);
    undo.push(() => peers?.close());
    signal?.throwIfAborted();
    return { settings, acceptor, sockets, state, mailbox, metrics, tls, peers, release };
  } catch (error) {
    release();
    throw error;
  }
}

function refuseExposure({ tls, insecure }: ServerSettings, host: string): void {
  if (isLoopback(host) || tls || insecure) return;
  throw new TalkError(
    "usage",
    `${host} can be reached from other machines, and without TLS any machine between could read and change what is said`,
    { remedy: "secure-listener" },
  );
}

async function listen(settings: ServerSettings): Promise<Acceptor> {
  const { listen: address, listenFd, socketFd, tls, limits, log } = settings;
  try {
    return await Acceptor.listen({ address, fd: listenFd, tls }, limits, log);
  } catch (error) {
    if (listenFd !== null) throw wrongSocket(error);
    const failure = listenError(error, address);
    // The service of the host: another holder of the port does not keep away clients of the Unix socket.
    if (socketFd === null || (error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw failure;
    log.warn("only the Unix socket serves this host", { reason: failure.message });
    return Acceptor.listen({ address: { host: DEFAULT_HOST, port: 0 }, fd: null, tls }, limits, log);
  }
}
