/**
 * The program: listens on 127.0.0.1 and speaks PostgreSQL's protocol, with TimescaleDB in
 * WebAssembly behind it.
 *
 *     node server.mjs MODULES_FOLDER PASSWORD PATIENCE_SECONDS
 *
 * MODULES_FOLDER is the node_modules that the package's lock file was installed into. What happens
 * is written to standard output, one JSON object a line; orders come in on standard input, one a
 * line, and the program ends when that does:
 *
 *     stop | stop immediate | start
 */

import { randomInt } from "node:crypto";
import net from "node:net";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

import { Databases } from "./databases.mjs";
import { Pool } from "./engine.mjs";
import { Session } from "./session.mjs";

const [modulesFolder, password, patienceSeconds] = process.argv.slice(2);
const distribution = path.join(modulesFolder, "@unni-craftsman", "pglite", "dist");
const pool = new Pool({
  pgliteUrl: pathToFileURL(path.join(distribution, "index.js")).href,
  timescaledbUrl: pathToFileURL(path.join(distribution, "timescaledb", "index.js")).href,
});
const sessions = new Map();
let lastProcessId = 1000;

const shared = {
  password,
  databases: new Databases(pool, Number(patienceSeconds) * 1000),
  cancel(processId, secret) {
    const session = sessions.get(processId);
    if (session?.secret === secret) session.cancel();
  },
};

let server;
let port = 0;

function accept(socket) {
  socket.setNoDelay(true);
  lastProcessId += 1;
  const session = new Session(socket, shared, lastProcessId, randomInt(1, 2 ** 31 - 1));
  sessions.set(session.processId, session);
  session.closed.finally(() => sessions.delete(session.processId));
}

const orders = {
  start() {
    return new Promise((resolve, reject) => {
      server = net.createServer(accept).once("error", reject);
      server.listen(port, "127.0.0.1", () => {
        ({ port } = server.address()); // the same one when it starts again
        resolve({ state: "listening", port });
      });
    });
  },

  /** Takes no more connections and cuts those that are there; the databases stay. */
  async stop(mode) {
    const closed = new Promise((resolve) => server.close(resolve));
    const why = { code: "57P01", message: "terminating connection due to administrator command" };
    const word = mode === "immediate" ? null : why;
    await Promise.all([...sessions.values()].map((session) => session.terminate(word)));
    await closed;
    return { state: "stopped" };
  },
};

function tell(event) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

pool.prepare("timescaledb");
tell(await orders.start());
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(" ");
  tell(await orders[name](argument));
}
process.exit(0);
