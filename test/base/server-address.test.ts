import { describe, expect, it } from "vitest";
import {
  canonicalServer,
  formatServerAddress,
  formatServerList,
  haveServerInCommon,
  isLoopback,
  MAX_SERVERS,
  parseServerAddress,
  parseServerList,
} from "../../lib/base/server-address.ts";

describe("parseServerAddress", () => {
  it.each([
    ["127.0.0.1:1", "127.0.0.1", 1],
    ["example.org:65535", "example.org", 65535],
    ["example.org", "example.org", 5518],
    [":700", "127.0.0.1", 700],
    ["[::1]:700", "::1", 700],
    ["[fe80::1%eth0]", "fe80::1%eth0", 5518],
    ["::1", "::1", 5518],
  ])("reads %s", (text, host, port) => {
    expect(parseServerAddress(text)).toEqual({ host, port });
  });

  it.each(["", "a:b", "a:0", "a:65536", "a:1e3", "[::1", "[a]:5", "a b:5", "::1:::2", "a:", "-a:4", "a\n:4"])(
    "refuses %j",
    (text) => {
      expect(() => parseServerAddress(text, "PTALK_SERVER")).toThrow(/^PTALK_SERVER /);
    },
  );

  it.each([
    ["SRV.Example.:7", "srv.example:7"],
    ["FE80::0:1%Eth0", "[fe80::1%Eth0]:5518"],
    ["[::FFFF:10.0.0.1]:7", "10.0.0.1:7"],
    ["[0:0::1]:7", "[::1]:7"],
    ["LOCALHOST", "localhost:5518"],
  ])("has one spelling for %s", (text, spelled) => {
    expect(formatServerAddress(parseServerAddress(text))).toBe(spelled);
    expect(canonicalServer(text)).toBe(spelled);
    expect(canonicalServer(spelled)).toBe(spelled);
  });

  it("leaves alone what is no server", () => {
    expect(canonicalServer("a b")).toBe("a b");
  });

  it("takes port 0 only where the system may pick one", () => {
    expect(parseServerAddress("127.0.0.1:0", "--listen", 0).port).toBe(0);
  });

  it("writes back what it reads", () => {
    expect(formatServerAddress(parseServerAddress("[::1]:7"))).toBe("[::1]:7");
    expect(formatServerAddress(parseServerAddress("h:7"))).toBe("h:7");
  });

  it("knows what stays on the machine", () => {
    expect(["127.0.0.1", "127.9.9.9", "::1", "localhost"].every(isLoopback)).toBe(true);
    expect(["10.0.0.1", "127.evil.example", "::2"].some(isLoopback)).toBe(false);
  });
});

describe("a list of servers", () => {
  const spelled = (list: string | readonly string[]): string => formatServerList(parseServerList(list, "--server"));

  it.each([
    ["a", "a:5518"],
    ["b:2,A:1,b:2", "b:2,a:1"],
    ["[::1]:7,::1,127.0.0.1", "[::1]:7,[::1]:5518,127.0.0.1:5518"],
    ["a,A.:5518,b", "a:5518,b:5518"],
  ])("reads %s", (text, list) => {
    expect(spelled(text)).toBe(list);
  });

  it("may be one of words", () => {
    expect(spelled(["a:1", "b:2"])).toBe("a:1,b:2");
    expect(() => spelled([])).toThrow(/^--server /);
  });

  it.each(["", ",", "a,", ",a", "a,,b", "a, b", "a,b:0", "a;b"])("refuses %j", (text) => {
    expect(() => spelled(text)).toThrow(/^--server /);
  });

  it("has a bound, and one that stands there twice counts once", () => {
    const ports = Array.from({ length: MAX_SERVERS }, (_, i) => `a:${i + 1}`);
    expect(parseServerList([...ports, "a:1"])).toHaveLength(MAX_SERVERS);
    expect(() => spelled([...ports, "a:99"])).toThrow(/these are 9 servers, and 8 is the most/);
  });

  it("has a server in common with another one, however it is spelled", () => {
    expect(haveServerInCommon("a:1,b:2", "c:3,B:2")).toBe(true);
    expect(haveServerInCommon("a:1", "a:2,b:1")).toBe(false);
  });
});
