// The process one benchmark runs in (see run.js): imports it, hands its rows to the parent, and ends.
const name = process.argv[2];

/** What a benchmark gets: row({name, value, unit, ratio?, target?, met?}); `target` is the promise in words, `met` whether it held. */
const report = {
  row(row) {
    if (typeof row.name !== "string" || typeof row.value !== "number" || typeof row.unit !== "string") {
      throw new TypeError("a row needs name (string), value (number) and unit (string)");
    }
    process.send({ row });
  },
};

let message = {};
try {
  const { run } = await import(`./${name}.bench.js`);
  await run(report);
} catch (error) {
  message = { error: error?.stack ?? String(error) };
}
// The callback: process.exit may otherwise drop what is still in the channel.
process.send(message, () => process.exit(message.error ? 1 : 0));
