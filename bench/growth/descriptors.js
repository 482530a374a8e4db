// Room for 10,000 connections: a descriptor each, here and in the server.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** 10,000 clients, and what Node, the server's workers and the visitors need beside them. */
const NEEDED = 16_384;

/** The limit is inherited: call it before a server is started. @throws when this user may not raise it that far */
export function raiseDescriptors() {
  const line = readFileSync("/proc/self/limits", "latin1").match(/^Max open files\s+(\S+)/m);
  const soft = line?.[1] === "unlimited" ? Number.POSITIVE_INFINITY : Number(line?.[1]);
  if (soft >= NEEDED) return; // Node has raised it to the hard limit
  try {
    execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${NEEDED}`], { stdio: "ignore" });
  } catch (error) {
    throw new Error(`needs ${NEEDED} descriptors, and this user may have ${soft}: ulimit -n`, { cause: error });
  }
}
