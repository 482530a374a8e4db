// ptalk's public face: what a program imports from "ptalk". The POSIX primitives are in "ptalk/ipc".

export { TalkClient } from "./client/talk-client.ts";
export type * from "./client/types.ts";
export { TalkError, type TalkErrorCode } from "./errors.ts";
export { LookupServer } from "./server/lookup-server.ts";
export type { ServerOptions } from "./server/options.ts";
export { Directory, type DirectoryEntry } from "./table/directory.ts";
