// A host of the directory that is in etcd, by what the flags of a server say.
import type { HostMaker, SharedAddress } from "../directory.ts";
import { isKeptId, newDirectoryId } from "../directory-id.ts";
import { readEtcdAccess } from "./address.ts";
import { EtcdEngine } from "./etcd-engine.ts";
import { EtcdHost } from "./etcd-host.ts";

/** @throws TalkError usage, refused, bad-data */
export function etcdHostMaker({ address, ca, certificate, key, realm }: SharedAddress): HostMaker {
  const files = { ca: ca ?? undefined, certificate: certificate ?? undefined, key: key ?? undefined };
  const access = readEtcdAccess({ address, ...files }, process.env);
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
