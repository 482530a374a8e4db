// ptalk's public face: what a program imports from "ptalk". The POSIX primitives are in "ptalk/ipc".
export { TalkError, type TalkErrorCode, type TriedWay, type WayAnswer } from "./base/errors.ts";
export {
  type ServerInfo,
  ServerMonitor,
  type ServerSignalInfo,
  type WorkerInfo,
} from "./client/server-monitor.ts";
export { TalkClient } from "./client/talk-client.ts";
export type * from "./client/types.ts";
export { DirectoryEntry } from "./directory/entry.ts";
export { MappedDirectory as Directory } from "./directory/shm/mapped-directory.ts";
export { LookupServer } from "./server/lookup-server.ts";
export type { ServerOptions } from "./server/options.ts";
