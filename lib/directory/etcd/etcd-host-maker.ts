// The directory that is in etcd, by the flags of a server: its host, and its members' state.
import type { HostMaker, SharedAddress } from "../directory.ts";
import { isKeptId, newDirectoryId } from "../directory-id.ts";
import { type EtcdAccess, readEtcdAccess } from "./address.ts";
import { EtcdEngine } from "./etcd-engine.ts";
import { EtcdHost } from "./etcd-host.ts";
import { type MemberReport, memberReports } from "./etcd-status.ts";

/** @throws TalkError usage, refused, bad-data */
export function etcdHostMaker(shared: SharedAddress): HostMaker {
  const access = accessOf(shared);
  const { realm } = shared;
  return (options) => {
    const { log } = options;
    const engine = new EtcdEngine(access, (text) => log.warn(text));
    const { prefix, members } = access;
    try {
      // The id of a host's default server is no key's, and good on that host alone.
      const directoryId = isKeptId(options.directoryId) ? options.directoryId : newDirectoryId();
      return new EtcdHost({ ...options, directoryId, engine, prefix, members, realm });
    } catch (error) {
      engine.close();
      throw error;
    }
  };
}

/** How each member of the cluster is, asked for at most so many ms. @throws TalkError usage, refused, bad-data */
export function etcdMembers(shared: Omit<SharedAddress, "realm">, ms: number): Promise<MemberReport[]> {
  return memberReports(accessOf(shared), ms);
}

function accessOf({ address, ca, certificate, key }: Omit<SharedAddress, "realm">): EtcdAccess {
  const files = { ca: ca ?? undefined, certificate: certificate ?? undefined, key: key ?? undefined };
  return readEtcdAccess({ address, ...files }, process.env);
}
