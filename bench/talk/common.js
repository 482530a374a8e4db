import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The value below which the fraction `q` of `values` lies. Sorts in place. */
export function quantile(values, q) {
  values.sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(values.length * q))];
}

/** receiver.js in a process of its own: {peer, echoPort, ask(line) -> its answer, stop()}. */
export async function startReceiver() {
  const child = spawn(process.execPath, [join(import.meta.dirname, "receiver.js")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface(child.stdout);
  const next = async () => JSON.parse((await once(lines, "line"))[0]);
  const { key, address, port, echo } = await next();
  return {
    peer: { key: Buffer.from(key, "base64"), name: "receiver", endpoints: [{ address, port }] },
    echoPort: echo,
    ask(line) {
      child.stdin.write(`${line}\n`);
      return next();
    },
    stop: () => child.stdin.end(),
  };
}
