// ptalk's public face: what a program imports from "ptalk". The POSIX primitives are in "ptalk/ipc".
export { Directory, type DirectoryEntry } from "./table/directory.ts";
