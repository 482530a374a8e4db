// Whether systemd-logind ends a program at its user's logout: systemd-logind(8), logind.conf(5), loginctl(1) enable-linger.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";

/** Milliseconds that a bus which does not answer may take. */
const ASK_LIMIT_MS = 1_000;

export interface LogoutFacts {
  /** systemd runs this machine. */
  readonly hasLogind: boolean;
  readonly lingers: boolean;
  /** The program's control group, in the form of /proc/PID/cgroup. */
  readonly cgroup: string;
  /** KillUserProcesses=; null where it is unknown. */
  readonly killsProcesses: boolean | null;
}

/** A sentence for the user if the program ends at logout, else null. */
export function logoutWarning({ hasLogind, lingers, cgroup, killsProcesses }: LogoutFacts): string | null {
  if (!hasLogind || lingers) return null;
  const remedy = "to keep it on: loginctl enable-linger";
  if (/\/user@\d+\.service\//.test(cgroup)) return `systemd ends it when you log out for the last time; ${remedy}`;
  if (!/\/session-[^/]+\.scope/.test(cgroup) || killsProcesses === false) return null;
  const may = killsProcesses === null ? "may end" : "ends";
  return `systemd-logind ${may} it when you log out (KillUserProcesses); ${remedy}`;
}

/** @param pid the program's */
export function logoutFacts(pid: number): LogoutFacts {
  const hasLogind = existsSync("/run/systemd/system");
  return {
    hasLogind,
    lingers: hasLogind && existsSync(`/var/lib/systemd/linger/${loginName()}`),
    cgroup: cgroupOf(pid),
    killsProcesses: hasLogind ? killUserProcesses() : null,
  };
}

function loginName(): string {
  try {
    return userInfo().username;
  } catch {
    return "";
  }
}

function cgroupOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "latin1").trim();
  } catch {
    return "";
  }
}

function killUserProcesses(): boolean | null {
  const property = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
  try {
    const answer = execFileSync("busctl", ["get-property", ...property, "KillUserProcesses"], {
      encoding: "utf8",
      timeout: ASK_LIMIT_MS,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return answer.trim() === "b true";
  } catch {
    return null;
  }
}
