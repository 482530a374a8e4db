// Makes a shared library that was linked on a current system load with an old glibc, as far as it needs nothing new: the versions of its
// undefined symbols are in its dynamic section as numbers (System V gABI, "Symbol Versioning" in the LSB).
import { readFileSync, writeFileSync } from "node:fs";

/** glibc of RHEL 8 and Debian 10, and what Node's own binaries need. */
const OLDEST = [2, 28];
/** The first version of every symbol of a processor: what a library of that age asks for. */
const BASE = { 62: "GLIBC_2.2.5", 183: "GLIBC_2.17" };
/** In libc since 2.34 under a new version, and under the base version in libpthread before, which Node has loaded. */
const MOVED = /^(__pthread_key_create|pthread_(once|key_create|key_delete|getspecific|setspecific))$/;
/** Called by libsodium only on kernels before 3.17, which have no getrandom(2): stays unresolved there. */
const NEVER_CALLED = /^fstat$/;

const WEAK = 2; // VER_FLG_WEAK: the loader accepts a libc without this version

/**
 * Rewrites the file in place.
 * @throws Error naming the symbols that a glibc of {@link OLDEST} does not have
 */
export function lowerGlibc(path) {
  const elf = readFileSync(path);
  const sections = readSections(elf);
  const base = BASE[elf.readUInt16LE(18)];
  const needs = readNeeds(elf, sections);
  const baseIndex = needs.find(({ file, name }) => file === "libc.so.6" && name === base)?.index;
  if (baseIndex === undefined) throw new Error(`${path} needs no ${base}`);
  const tooNew = needs.filter(({ name }) => isNewer(name));
  const bad = [];
  for (const symbol of readSymbols(elf, sections)) {
    const need = tooNew.find(({ index }) => index === symbol.version);
    if (need === undefined) continue;
    if (MOVED.test(symbol.name)) elf.writeUInt16LE(baseIndex, symbol.versionAt);
    else if (!NEVER_CALLED.test(symbol.name)) bad.push(`${symbol.name} (${need.name})`);
  }
  if (bad.length > 0) throw new Error(`${path} needs a glibc newer than ${OLDEST.join(".")}: ${bad.join(", ")}`);
  for (const { flagsAt } of tooNew) elf.writeUInt16LE(WEAK, flagsAt);
  writeFileSync(path, elf);
}

function isNewer(version) {
  const [, major, minor] = /^GLIBC_(\d+)\.(\d+)/.exec(version) ?? [];
  return major !== undefined && (Number(major) > OLDEST[0] || Number(minor) > OLDEST[1]);
}

function readSections(elf) {
  if (elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1)
    throw new Error("no 64-bit little-endian ELF");
  const at = Number(elf.readBigUInt64LE(0x28));
  const [size, count, names] = [elf.readUInt16LE(0x3a), elf.readUInt16LE(0x3c), elf.readUInt16LE(0x3e)];
  const headers = Array.from({ length: count }, (_, i) => {
    const header = at + i * size;
    return {
      name: elf.readUInt32LE(header),
      offset: Number(elf.readBigUInt64LE(header + 0x18)),
      size: Number(elf.readBigUInt64LE(header + 0x20)),
    };
  });
  const text = headers[names].offset;
  return new Map(headers.map((header) => [textAt(elf, text + header.name), header]));
}

const textAt = (elf, at) => elf.toString("latin1", at, elf.indexOf(0, at));

/** Elf64_Verneed and, in each, Elf64_Vernaux. */
function readNeeds(elf, sections) {
  const strings = sections.get(".dynstr").offset;
  const needs = [];
  for (let at = sections.get(".gnu.version_r").offset; ; ) {
    const file = textAt(elf, strings + elf.readUInt32LE(at + 4));
    for (let aux = at + elf.readUInt32LE(at + 8); ; ) {
      const name = textAt(elf, strings + elf.readUInt32LE(aux + 8));
      needs.push({ file, name, index: elf.readUInt16LE(aux + 6), flagsAt: aux + 4 });
      const next = elf.readUInt32LE(aux + 12);
      if (next === 0) break;
      aux += next;
    }
    const next = elf.readUInt32LE(at + 12);
    if (next === 0) return needs;
    at += next;
  }
}

function readSymbols(elf, sections) {
  const [symbols, versions, strings] = [".dynsym", ".gnu.version", ".dynstr"].map((name) => sections.get(name));
  return Array.from({ length: symbols.size / 24 }, (_, i) => {
    const versionAt = versions.offset + 2 * i;
    const name = textAt(elf, strings.offset + elf.readUInt32LE(symbols.offset + 24 * i));
    return { name, version: elf.readUInt16LE(versionAt), versionAt };
  });
}
