/**
 * One engine on a thread of its own: boots PGlite, passes wire messages to it, puts it back to the
 * state it booted into. Talks to `engine.mjs` only, one request at a time.
 */

import { parentPort, workerData } from "node:worker_threads";

import { Snapshot } from "./snapshot.mjs";
import { firstError, simpleQuery } from "./wire.mjs";

const { PGlite } = await import(workerData.pgliteUrl);
const { timescaledb } = await import(workerData.timescaledbUrl);

// What the engine is started with differs from PostgreSQL's defaults, in its C code: no sequential
// scans, debug messages to clients, an odd search path. Set as if on the command line, so that
// RESET comes back to these values.
const PGC_POSTMASTER = 1;
const PGC_S_ARGV = 4; // "on the command line": where the license may come from
const PGC_S_OVERRIDE = 10;
const SETTINGS = {
  allow_system_table_mods: "off",
  client_min_messages: "notice",
  enable_seqscan: "on",
  exit_on_error: "off",
  ignore_invalid_pages: "off",
  log_min_messages: "warning",
  search_path: '"$user", public',
  TimeZone: "UTC",
};

// Runs through what loads code or fills caches, so that the snapshot has it.
const WARM_UP = [
  "DO $$ BEGIN PERFORM 1; END $$",
  "CREATE TABLE warm_up (at timestamptz NOT NULL, series int, value float8)",
  "SELECT create_hypertable('warm_up', 'at')",
  "INSERT INTO warm_up VALUES ('2000-01-01Z', 1, 1)",
  "SELECT time_bucket('1 hour', at), avg(value) FROM warm_up GROUP BY 1",
  "DROP TABLE warm_up",
];

// The databases that CREATE DATABASE can copy.
const TEMPLATES = {
  timescaledb: { license: "timescale", statements: ["CREATE EXTENSION timescaledb", ...WARM_UP] },
  apache: { license: "apache", statements: ["CREATE EXTENSION timescaledb", ...WARM_UP] },
  template0: { license: "timescale", statements: [] },
};

let database;
let snapshot;

function set(name, value, source = PGC_S_OVERRIDE) {
  const module = database.Module;
  const [namePointer, valuePointer] = [name, value].map((text) => module.stringToNewUTF8(text));
  module._SetConfigOption(namePointer, valuePointer, PGC_POSTMASTER, source);
  module._free(namePointer);
  module._free(valuePointer);
}

function run(statement) {
  const reply = database.execProtocolRawSync(simpleQuery(statement));
  const error = firstError(reply);
  if (error) throw new Error(`${statement}: ${error.message}`);
}

const requests = {
  async boot({ template }) {
    const { license, statements } = TEMPLATES[template];
    database = await PGlite.create({ extensions: { timescaledb } });
    set("timescaledb.license", license, PGC_S_ARGV);
    statements.forEach(run);
    Object.entries(SETTINGS).forEach(([name, value]) => set(name, value));
    run("SET client_encoding = 'UTF8'"); // it says so from the start, and takes any bytes
    run("RESET ALL");
    run("CHECKPOINT");
    snapshot = new Snapshot(database.Module);
  },

  /** Passes one message on; `blob` is what COPY FROM '/dev/blob' reads. */
  async execute({ message, blob }) {
    if (blob) await database._handleBlob(new Blob([blob]));
    const reply = database.execProtocolRawSync(message).slice();
    await database._cleanupBlob();
    const written = await database._getWrittenBlob();
    return { reply, written: written && new Uint8Array(await written.arrayBuffer()) };
  },

  /** Puts the engine back to how it booted; false if it cannot be. */
  async restore() {
    if (!snapshot.canRestore()) return false;
    snapshot.restore();
    return true;
  },
};

parentPort.on("message", async ({ name, parameters }) => {
  try {
    parentPort.postMessage({ result: await requests[name](parameters) });
  } catch (error) {
    parentPort.postMessage({ crash: String(error?.stack ?? error) });
  }
});
