// A client of the lookup server, for benchmarks: asks, and registers.
import { connect } from "node:net";
import { registrationBytes } from "../../dist/crypto/signed-statements.js";
import { encodeCommand } from "../../dist/wire/resp-command.js";
import { ReplyDecoder } from "../../dist/wire/resp-reply.js";

export class Client {
  #waiting = [];
  #decoder = new ReplyDecoder();

  constructor(port) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (chunk) => {
      this.#decoder.push(chunk);
      for (let reply = this.#decoder.next(); reply !== undefined; reply = this.#decoder.next()) {
        if (!reply.push) this.#waiting.shift()(reply.value);
      }
    });
  }

  ask(...args) {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.socket.write(encodeCommand(args));
    });
  }

  async register(name, identity) {
    const nonce = (await this.ask("HELLO", 3)).get("nonce");
    const bytes = registrationBytes({ nonce, name, port: 4000, addresses: [], host: "bench" });
    const signature = identity.sign(bytes).toString("base64");
    const key = identity.publicKey.toString("base64");
    const reply = await this.ask("REGISTER", name, "KEY", key, "PORT", 4000, "HOST", "bench", "SIG", signature);
    if (reply !== "OK") throw reply;
  }
}
