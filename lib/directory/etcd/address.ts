// Where the directory's engine is, as people write it, and what a server shows to it: etcd://HOST:PORT[,…]/PREFIX, the files of TLS, user and
// password. Pure text but for the files; nothing is asked of the network.
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import * as tls from "node:tls";
import { TalkError } from "../../base/errors.ts";
import { formatServerAddress, parseServerAddress } from "../../base/server-address.ts";
import type { Credentials } from "./messages.ts";

const SCHEME = "etcd://";
/** Members of one address: an etcd cluster has at most seven that vote, by its own advice. */
const MAX_MEMBERS = 16;
/** Of the prefix; keys are short, and many. */
const MAX_PREFIX_BYTES = 128;
/** A file of user and password is two short lines. */
const MAX_CREDENTIALS_BYTES = 4096;
/** Permission bits; a group may be there to read secrets. */
const OTHERS = 0o007;

export interface EtcdAddress {
  /** "HOST:PORT", brackets around IPv6. */
  readonly members: readonly string[];
  /** "/ptalk": begins all keys, without a "/" at its end. */
  readonly prefix: string;
}

/** PEM. */
export interface EtcdTls {
  /** Null: the system's authorities. */
  readonly ca: Buffer | null;
  readonly certificate: Buffer | null;
  readonly key: Buffer | null;
}

/** All that a client of etcd has to know. */
export interface EtcdAccess extends EtcdAddress {
  /** Null: no TLS. */
  readonly tls: EtcdTls | null;
  /** Null: etcd does not ask, or a client certificate says the user. */
  readonly credentials: Credentials | null;
}

/** As the flags have it; an empty string is as good as nothing. */
export interface EtcdOptions {
  readonly address: string;
  /** Paths of PEM files. */
  readonly ca?: string | undefined;
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
}

/**
 * Reads all that the flags and the environment say of the engine. User and password are in PTALK_DIRECTORY_USER and
 * PTALK_DIRECTORY_PASSWORD, or in the two lines of the file that PTALK_DIRECTORY_CREDENTIALS names.
 * @throws TalkError usage: the address, or half of a pair; refused, bad-data: a file
 */
export function readEtcdAccess(
  { address, ca, certificate, key }: EtcdOptions,
  env: Readonly<Record<string, string | undefined>>,
): EtcdAccess {
  if (Boolean(certificate) !== Boolean(key)) {
    throw usage("--directory-cert", "a certificate and its key (--directory-key) belong together");
  }
  const place = parseEtcdAddress(address);
  const tls = ca || certificate ? { ca: pemOf(ca), certificate: pemOf(certificate), key: pemOf(key) } : null;
  if (tls !== null) checkTls(tls, [ca, certificate, key].filter(Boolean).join(", "));
  return { ...place, tls, credentials: credentialsOf(env) };
}

/** Reads etcd://HOST:PORT[,HOST:PORT…]/PREFIX. @throws TalkError usage */
export function parseEtcdAddress(text: string, where = "--directory"): EtcdAddress {
  const bad = (reason: string) => usage(where, `${JSON.stringify(text)}: ${reason}`);
  if (!text.startsWith(SCHEME)) throw bad(`expected ${SCHEME}HOST:PORT[,HOST:PORT…]/PREFIX`);
  const rest = text.slice(SCHEME.length);
  const slash = rest.indexOf("/");
  const list = slash < 0 ? rest : rest.slice(0, slash);
  if (list.includes("@")) throw bad("user and password stand in the environment, where no process list shows them");
  const members = list.split(",").map((each) => {
    if (!/:\d+$/.test(each)) throw bad(`${JSON.stringify(each)} is no HOST:PORT (etcd's own port is 2379)`);
    return formatServerAddress(parseServerAddress(each, where));
  });
  if (members.length > MAX_MEMBERS) throw bad(`${members.length} members; the limit is ${MAX_MEMBERS}`);
  if (new Set(members).size < members.length) throw bad("a member is named twice");
  const prefix = slash < 0 ? "" : rest.slice(slash).replace(/\/$/, "");
  if (prefix === "") throw bad("a prefix is missing: etcd://HOST:PORT/ptalk, say");
  if (!/^(\/[A-Za-z0-9._-]+)+$/.test(prefix)) throw bad("a prefix has letters, digits, . _ - and single slashes");
  if (prefix.length > MAX_PREFIX_BYTES) throw bad(`the prefix is longer than ${MAX_PREFIX_BYTES} characters`);
  return { members, prefix };
}

function credentialsOf(env: Readonly<Record<string, string | undefined>>): Credentials | null {
  const { PTALK_DIRECTORY_USER: user, PTALK_DIRECTORY_PASSWORD: password, PTALK_DIRECTORY_CREDENTIALS: file } = env;
  if (file) {
    if (user || password)
      throw usage("PTALK_DIRECTORY_CREDENTIALS", "either the file, or user and password themselves");
    return credentialsIn(file);
  }
  if (!user && !password) return null;
  if (!user) throw usage("PTALK_DIRECTORY_USER", "there is a password, but no user");
  if (!password) throw usage("PTALK_DIRECTORY_PASSWORD", "there is a user, but no password");
  return { user, password };
}

function credentialsIn(path: string): Credentials {
  const bytes = contentsOf(path);
  if ((statSync(path).mode & OTHERS) !== 0)
    throw TalkError.refused(`${path}: everybody can reach it; chmod o= ${path}`);
  const [user, password, ...more] = bytes.toString("utf8").trimEnd().split(/\r?\n/);
  if (bytes.length > MAX_CREDENTIALS_BYTES || !user || !password || more.length > 0) {
    throw TalkError.badData(`${path}: expected two lines, the user and the password`);
  }
  return { user, password };
}

const pemOf = (path: string | undefined): Buffer | null => (path ? contentsOf(path) : null);

function contentsOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw TalkError.refused(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}

function checkTls({ ca, certificate, key }: EtcdTls, paths: string): void {
  try {
    if (ca !== null) new X509Certificate(ca);
    tls.createSecureContext({ ...(certificate ? { cert: certificate } : {}), ...(key ? { key } : {}) });
  } catch (error) {
    throw TalkError.badData(
      `${paths}: no certificates in PEM, or not with their key (${(error as Error).message})`,
      error,
    );
  }
}

function usage(where: string, reason: string): TalkError {
  return new TalkError("usage", `${where}: ${reason}`, { subject: where });
}
