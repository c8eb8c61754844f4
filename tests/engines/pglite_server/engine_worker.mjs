/**
 * One engine in its own thread: boots PGlite, runs wire messages, restores the state after the boot.
 * Serves `engine.mjs`, one request at a time.
 */

import { parentPort, workerData } from "node:worker_threads";

import { Snapshot } from "./snapshot.mjs";
import { firstError, simpleQuery } from "./wire.mjs";

const { PGlite } = await import(workerData.pgliteUrl);
const { timescaledb } = await import(workerData.timescaledbUrl);

// The engine's C code starts it with other settings than PostgreSQL's defaults: no sequential scans,
// debug messages to clients, another search path. These values are set like command line options, so
// that RESET returns to them.
const PGC_POSTMASTER = 1;
const PGC_S_ARGV = 4; // "on the command line": the license may be set only there
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

// Statements that load code and fill caches, so that the snapshot includes them.
const WARM_UP = [
  "DO $$ BEGIN PERFORM 1; END $$",
  "CREATE TABLE warm_up (at timestamptz NOT NULL, series int, value float8)",
  "SELECT create_hypertable('warm_up', 'at')",
  "INSERT INTO warm_up VALUES ('2000-01-01Z', 1, 1)",
  "SELECT time_bucket('1 hour', at), avg(value) FROM warm_up GROUP BY 1",
  "DROP TABLE warm_up",
];

// The templates of CREATE DATABASE.
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
    run("SET client_encoding = 'UTF8'"); // the engine reports UTF8 from the start, but accepts any bytes
    run("RESET ALL");
    run("CHECKPOINT");
    snapshot = new Snapshot(database.Module);
  },

  /** Runs one message; `blob` is what COPY FROM '/dev/blob' reads. */
  async execute({ message, blob }) {
    if (blob) await database._handleBlob(new Blob([blob]));
    const reply = database.execProtocolRawSync(message).slice();
    await database._cleanupBlob();
    const written = await database._getWrittenBlob();
    return { reply, written: written && new Uint8Array(await written.arrayBuffer()) };
  },

  /** Restores the state after the boot; false if that is not possible. */
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
