// The server's certificate: given, or made once and kept in the state directory.
import { X509Certificate } from "node:crypto";
import { constants } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { TalkError } from "../base/errors.ts";
import { replaceFile } from "../base/files.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { refuseUnlessPrivate } from "../crypto/key-file.ts";
import type { ServerSettings } from "./options.ts";

// Not by import(): that works only once in a script whose compiled code is kept (Node 20).
const require = createRequire(import.meta.url);

export interface TlsFiles {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Of the certificate, as clients pin it. */
  readonly fingerprint: string;
}

/** Clients pin the certificate itself, so its end is only there because the format wants one. */
const VALID_YEARS = 20;
const FILE = "server-certificate.pem";
/** Permission bits; a group may be there to read keys. */
const OTHERS = 0o007;

/** @throws TalkError refused, bad-data: files that cannot be read, or that are no certificate with its key */
export async function loadTls(settings: ServerSettings, stateDir: string | null): Promise<TlsFiles | null> {
  if (!settings.tls) return null;
  const { tlsCert, tlsKey, log } = settings;
  if (tlsCert === null || tlsKey === null) {
    if (stateDir === null) throw TalkError.usage("a server that keeps nothing has no certificate of its own");
    const path = join(stateDir, FILE);
    const advice = "restore it; or remove it to have another made, which clients that know the old one will refuse";
    return checked(await keptCertificate(path), path, `; ${advice}`);
  }
  const [cert, key] = await Promise.all([readPem(tlsCert), readPem(tlsKey)]);
  if (((await stat(tlsKey)).mode & OTHERS) !== 0)
    log.warn("everybody on this host can reach the TLS key", { path: tlsKey });
  return checked({ cert, key }, tlsCert);
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw TalkError.refused(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}

function checked({ cert, key }: { cert: string; key: string }, where: string, advice = ""): TlsFiles {
  try {
    createSecureContext({ cert, key });
    return { cert, key, fingerprint: fingerprint(new X509Certificate(cert).raw) };
  } catch (error) {
    throw TalkError.badData(`${where}: no certificate with its key (${(error as Error).message})${advice}`, error);
  }
}

/** Key and certificate in one file, so that no crash leaves one without the other. Made if there is no such file. */
async function keptCertificate(path: string): Promise<{ cert: string; key: string }> {
  let pem = await readPrivate(path);
  if (pem === null) {
    pem = await makeCertificate();
    await replaceFile(path, pem);
  }
  const begin = Math.max(0, pem.indexOf("-----BEGIN CERTIFICATE-----"));
  return { key: pem.slice(0, begin), cert: pem.slice(begin) };
}

async function readPrivate(path: string): Promise<string | null> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    refuseUnlessPrivate(file.fd, path);
    return await file.readFile("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    if (error instanceof TalkError) throw error;
    throw TalkError.refused(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}

async function makeCertificate(): Promise<string> {
  const { generate } = require("selfsigned") as typeof import("selfsigned");
  const notAfterDate = new Date();
  notAfterDate.setFullYear(notAfterDate.getFullYear() + VALID_YEARS);
  const { cert, private: key } = await generate([{ name: "commonName", value: "ptalk" }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    notAfterDate,
  });
  return `${key.trim()}\n${cert.trim()}\n`;
}
