// The server's certificate: given, or made once and kept in the state directory.
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { TalkError } from "../errors.ts";
import type { Settings } from "./options.ts";
import { readIfThere, replaceFile } from "./state-dir.ts";

export interface TlsFiles {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** "SHA256:" and unpadded base64 of SHA-256 over the certificate (DER), as clients pin it. */
  readonly fingerprint: string;
}

/** Clients pin the certificate itself, so its end is only there because the format wants one. */
const VALID_YEARS = 20;
const FILE = "server-certificate.pem";

/** @throws TalkError refused, bad-data: files that cannot be read, or that are no certificate with its key */
export async function loadTls(settings: Settings, stateDir: string): Promise<TlsFiles | null> {
  if (!settings.tls) return null;
  const { tlsCert, tlsKey } = settings;
  if (tlsCert === null || tlsKey === null) return checked(await keptCertificate(join(stateDir, FILE)), stateDir);
  const [cert, key] = await Promise.all([readPem(tlsCert), readPem(tlsKey)]);
  return checked({ cert, key }, tlsCert);
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw TalkError.refused(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}

function checked({ cert, key }: { cert: string; key: string }, where: string): TlsFiles {
  try {
    createSecureContext({ cert, key });
    const digest = new X509Certificate(cert).fingerprint256.replaceAll(":", "");
    const fingerprint = `SHA256:${Buffer.from(digest, "hex").toString("base64").replace(/=+$/, "")}`;
    return { cert, key, fingerprint };
  } catch (error) {
    throw TalkError.badData(`${where}: no certificate with its key: ${(error as Error).message}`, error);
  }
}

/** Key and certificate in one file, so that no crash leaves one without the other. */
async function keptCertificate(path: string): Promise<{ cert: string; key: string }> {
  const kept = await readIfThere(path);
  const pem = kept === "" ? await makeCertificate() : kept;
  if (kept === "") await replaceFile(path, pem);
  const begin = pem.indexOf("-----BEGIN CERTIFICATE-----");
  return { key: pem.slice(0, begin), cert: pem.slice(begin) };
}

async function makeCertificate(): Promise<string> {
  const { generate } = await import("selfsigned");
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
