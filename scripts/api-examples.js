// An example for each value that the package exports, shown in docs/API.md. Each is a whole program but for its import;
// test/docs/api-page.test.ts runs them.
const inSteps = (text) => text.trim();

/** Those of "ptalk". SERVER is the address of a server. */
export const TALK_EXAMPLES = {
  TalkClient: inSteps(`
const bob = await TalkClient.connect({ name: "bob", server: SERVER }); // without \`server\`: this host's
bob.on("message", ({ from, text, verified }) => console.log(from, text, verified)); // may be async: "delivered" waits for it

const alice = await TalkClient.connect({ name: "alice", server: SERVER });
const { ms, state } = await alice.send("bob", "the build is done"); // resolves once bob's program has shown it
console.log(state, ms);
await Promise.all([alice.close(), bob.close()]);`),
  TalkError: inSteps(`
const carol = await TalkClient.connect({ name: "carol", server: SERVER });
try {
  await carol.send("nobody-of-that-name", "hello");
} catch (error) {
  if (!(error instanceof TalkError)) throw error;
  console.log(error.code); // "no-such-user"; "unconfirmed" means that it may have arrived
} finally {
  await carol.close();
}`),
  LookupServer: inSteps(`
const server = await LookupServer.start({ listen: "127.0.0.1:0" });
console.log(server.address); // HOST:PORT, for \`ptalk --server\` and ConnectOptions.server
await server.stop();`),
  ServerMonitor: inSteps(`
const monitor = await ServerMonitor.connect({ server: SERVER });
const { clients, capacity, workers } = await monitor.info();
console.log(clients, capacity, workers.length);
await monitor.close();`),
  Directory: inSteps(`
const directory = Directory.open({ port: Number(SERVER.split(":").at(-1)) }); // on the server's host
console.log(directory.count, directory.lookup("alice")); // from shared memory: no system call
directory.close();`),
  DirectoryEntry: inSteps(`
const directory = Directory.open({ port: Number(SERVER.split(":").at(-1)) });
for (const entry of directory.all()) {
  console.log(entry instanceof DirectoryEntry, entry.name, entry.fingerprint, JSON.stringify(entry));
}
directory.close();`),
};

/** Those of "ptalk/ipc". */
export const IPC_EXAMPLES = {
  IpcError: inSteps(`
try {
  SharedMemory.open("/no-such-segment");
} catch (error) {
  if (!(error instanceof IpcError)) throw error;
  console.log(error.code, error.errno, error.syscall, error.path); // ENOENT 2 shm_open /no-such-segment
}`),
  SharedMemory: inSteps(`
const memory = SharedMemory.create("/example", { size: 4096 });
const words = new Int32Array(memory.buffer); // the same bytes in every process that opens the name
Atomics.add(words, 0, 1);
memory.close();
SharedMemory.unlink("/example");`),
  SEM_VALUE_MAX: inSteps(`
const full = Semaphore.create("/example", { value: SEM_VALUE_MAX });
try {
  full.post();
} catch ({ code }) {
  console.log(code); // EOVERFLOW
}
full.unlink();`),
  Semaphore: inSteps(`
const jobs = Semaphore.openOrCreate("/example", { value: 1 });
if (await jobs.waitAsync({ timeoutMs: 1000 })) jobs.post(); // the event loop was free meanwhile
jobs.close();
jobs.unlink();`),
  ReadersWriterLock: inSteps(`
const lock = ReadersWriterLock.create("/example", { repair: () => console.log("a writer died inside") });
const sum = await lock.withRead(() => 1 + 1); // beside other readers
await lock.withWrite(async () => {
  /* alone, until this settles */
});
console.log(sum, lock.stats().acquisitions, ReadersWriterLock.inspect("/example").holders);
lock.close();
lock.unlink();`),
  Mutex: inSteps(`
const mutex = Mutex.openOrCreate("/example");
await mutex.withLock(
  ({ abandoned }) => {
    if (abandoned) console.log("whoever was in before us was killed: mend the data first");
  },
  { timeoutMs: 5000 },
);
mutex.close();
mutex.unlink();`),
  FileLock: inSteps(`
const lock = FileLock.open("/tmp/example.lock");
await lock.withLock(() => console.log("no other process is in here"));
await lock.withShared(() => console.log("only readers are in here"));
lock.close();`),
  Event: inSteps(`
const ready = Event.create("/example");
setTimeout(() => ready.set(), 10); // in any process
console.log(await ready.wait({ timeoutMs: 1000 })); // true
ready.close();
ready.unlink();`),
  waitAny: inSteps(`
const jobs = Semaphore.create("/example", { value: 1 });
const stop = Event.create("/example-stop");
const first = await waitAny([jobs, stop, { pid: process.ppid }], { timeoutMs: 1000 });
console.log(first); // { index: 0, value: true }
for (const object of [jobs, stop]) object.unlink();`),
  RingBuffer: inSteps(`
const reader = RingBuffer.create("/example", { size: 65536, role: "reader" });
const writer = RingBuffer.open("/example", { role: "writer" }); // in another process, as a rule
await writer.push("one");
writer.close();
for await (const message of reader) console.log(String(message)); // one; then it ends: all writers have closed
reader.close();
reader.unlink();`),
  MessageQueue: inSteps(`
const queue = MessageQueue.create("/example", { maxMessages: 4, messageSize: 64 });
await queue.send("later");
await queue.send("first", { priority: 7 });
const { data, priority } = await queue.receive({ timeoutMs: 1000 });
console.log(String(data), priority); // first 7
queue.close();
queue.unlink();`),
  hostObjects: inSteps(`
const memory = SharedMemory.create("/example", { size: 4096 });
console.log(hostObjects().find(({ name }) => name === "/example")); // kind, uid, size, mode, openBy, locks
memory.unlink();`),
  processIdentity: inSteps(`
const { pid, startTime } = processIdentity(); // numbers are given out again, both together are not
console.log(pid, startTime, processIdentity(process.ppid));`),
  isAlive: inSteps(`
const parent = processIdentity(process.ppid);
console.log(parent !== null && isAlive(parent)); // true, and false for another process that got its number`),
  processExit: inSteps(`
import { spawn } from "node:child_process";
const child = spawn("sh", ["-c", "exit 3"]);
console.log(await processExit(child.pid)); // any process's, not only a child's`),
  sigaction: inSteps(`
const claim = sigaction("SIGUSR2", ({ pid, uid, value }) => console.log(\`\${value} from \${pid}, user \${uid}\`));
sigqueue(process.pid, "SIGUSR2", 42);
await new Promise((resolve) => setTimeout(resolve, 50)); // it runs on the event loop
claim[Symbol.dispose](); // puts back what was there before; or: using claim = …`),
  sigqueue: inSteps(`
sigqueue(process.ppid, 0); // sends nothing: ESRCH when there is no such process, EPERM when one may not`),
  signalCounts: inSteps(`
sigaction("SIGUSR2", () => {});
sigqueue(process.pid, "SIGUSR2");
await new Promise((resolve) => setTimeout(resolve, 50));
console.log(signalCounts()); // [{ signal: "SIGUSR2", count: 1, lastPid: … }]`),
  peerCredentials: inSteps(`
import { connect, createServer } from "node:net";
const server = createServer((socket) => {
  console.log(peerCredentials(socket)); // { pid, uid, gid } of who connected, by the kernel's word
  socket.destroy();
  server.close();
});
server.listen("\\0example", () => connect("\\0example").on("error", () => {}));`),
  peerPidfd: inSteps(`
import { closeSync } from "node:fs";
import { connect, createServer } from "node:net";
const server = createServer((socket) => {
  const pidfd = peerPidfd(socket); // means that very process, whatever becomes of its number
  if (pidfd !== null) closeSync(pidfd);
  socket.destroy();
  server.close();
});
server.listen("\\0example", () => connect("\\0example").on("error", () => {}));`),
  sendDescriptors: inSteps(`
import { openSync } from "node:fs";
import { connect, createServer } from "node:net";
const server = createServer({ pauseOnConnect: true }, async (socket) => {
  await sendDescriptors(socket, [openSync("/etc/hostname", "r")], Buffer.from("a file for you"));
  socket.destroy();
  server.close();
});
server.listen("\\0example", () => connect("\\0example").resume());`),
  receiveDescriptors: inSteps(`
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
const server = createServer({ pauseOnConnect: true }, async (socket) => {
  const { data, descriptors } = await receiveDescriptors(socket); // null at the end
  console.log(String(data), readFileSync(descriptors[0], "utf8").length > 0);
  closeSync(descriptors[0]); // the receiver's to close
  socket.destroy();
  server.close();
});
server.listen("\\0example", () => {
  const socket = connect("\\0example", () => sendDescriptors(socket, [openSync("/etc/passwd", "r")], Buffer.from("users")));
});`),
};
