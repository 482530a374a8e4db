// A client of the lookup server, for benchmarks: asks, and registers.
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { greetingBytes, isSigned, LOCAL_BINDING, registrationBytes } from "../../dist/crypto/signed-statements.js";
import { PEER_PROTOCOL } from "../../dist/directory/entry.js";
import { encodeCommand } from "../../dist/wire/resp-command.js";
import { ReplyDecoder } from "../../dist/wire/resp-reply.js";

export class Client {
  #waiting = [];
  #decoder = new ReplyDecoder();
  /** Takes what the server pushes. */
  onPush = () => {};

  constructor(port) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("error", (error) => this.#end(error));
    this.socket.on("close", () => this.#end(new Error("the connection has ended")));
    this.socket.on("data", (chunk) => {
      this.#decoder.push(chunk);
      for (let reply = this.#decoder.next(); reply !== undefined; reply = this.#decoder.next()) {
        // The server may say why it closes without being asked.
        if (reply.push) this.onPush(reply.value);
        else this.#waiting.shift()?.resolve(reply.value);
      }
    });
  }

  ask(...args) {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error("the connection has ended"));
      this.#waiting.push({ resolve, reject });
      this.socket.write(encodeCommand(args));
    });
  }

  #end(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** As ptalk does: the server signs the greeting, and the client checks that. @param asks called when REGISTER leaves */
  async register(name, identity, asks = () => {}) {
    const clientNonce = randomBytes(32).toString("base64");
    const hello = await this.ask("HELLO", 3, "NONCE", clientNonce);
    const [serverNonce, serverKey] = [hello.get("nonce"), hello.get("serverkey")];
    const statement = { serverNonce, clientNonce, serverKey, binding: LOCAL_BINDING };
    if (
      !isSigned(
        greetingBytes({ ...statement, directory: hello.get("directory"), channel: "plain" }),
        serverKey,
        hello.get("signature"),
      )
    )
      throw new Error("no signed greeting");
    const fields = { name, port: 4000, endpoints: [], host: "bench", protocol: PEER_PROTOCOL, options: [] };
    const signature = identity.sign(registrationBytes({ ...statement, ...fields })).toString("base64");
    const key = identity.publicKey.toString("base64");
    const proof = ["KEY", key, "PROTOCOL", PEER_PROTOCOL, "PORT", 4000, "HOST", "bench", "SIG", signature];
    asks();
    const reply = await this.ask("REGISTER", name, ...proof);
    if (reply !== "OK") throw reply;
  }
}
