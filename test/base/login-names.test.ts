// Every login of the system has a valid name of its own.
import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { loginOfName, nameOfLogin } from "../../lib/base/login-names.ts";
import { foldIfValid, MAX_NAME_BYTES } from "../../lib/base/names.ts";

describe("a login", () => {
  it.each([
    ["bob", "bob"],
    ["Ströhm", "Ströhm"],
    ["www-data", "www-data"],
    ["bob@ad.example", "bob_40ad.example"],
    ["DOM\\bob", "DOM_5cbob"],
    ["_apt", "u._apt"],
    ["list", "u.list"],
    ["All", "u.All"],
    ["u.list", "u._75.list"],
    ["a_40b", "a_5f40b"],
    ["machine$", "machine_24"],
    ["", "u."],
    ["rооt", "r_d0_be_d0_bet"],
    ["a".repeat(40), `${"a".repeat(23)}_e33cdf9c`],
  ])("%j goes by %s", (login, name) => {
    expect(nameOfLogin(login)).toBe(name);
  });
});

const logins = fc.oneof(
  fc.string({ minLength: 1, maxLength: 40, unit: "binary" }),
  fc.uint8Array({ minLength: 1, maxLength: 48 }),
  fc.stringMatching(/^[a-z_.u@0-9]{1,34}$/),
  fc.constantFrom("all", "u.all", "u._75.all", "_75.all", "a_40", "a@", "a_5f40", "сосо", "coco"),
);
const bytesOf = (login: string | Uint8Array): string => Buffer.from(login as string).toString("hex");

test("whatever it is, it has a valid name", () => {
  fc.assert(
    fc.property(logins, (login) => {
      const name = nameOfLogin(login);
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(MAX_NAME_BYTES);
      expect(foldIfValid(name)).not.toBeNull();
    }),
    { numRuns: 20_000 },
  );
});

test("two logins have two names", () => {
  const owners = new Map<string, string>();
  fc.assert(
    fc.property(logins, (login) => {
      const name = nameOfLogin(login);
      expect(owners.get(name) ?? bytesOf(login)).toBe(bytesOf(login));
      owners.set(name, bytesOf(login));
    }),
    { numRuns: 20_000 },
  );
});

test("a name that is not a hash tells which login has it", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 9 }), (login) => {
      const name = nameOfLogin(login);
      if (!/_[0-9a-f]{8}$/.test(name)) expect(loginOfName(name)).toBe(login);
    }),
    { numRuns: 20_000 },
  );
});
