/**
 * The program: listens on 127.0.0.1 and speaks PostgreSQL's protocol, with TimescaleDB in
 * WebAssembly behind it.
 *
 *     node server.mjs MODULES_FOLDER PASSWORD TURN_TIMEOUT_SECONDS
 *
 * MODULES_FOLDER is the node_modules folder with the packages of the lock file. The program reads
 * commands from standard input, one a line, and writes its state after each to standard output, one
 * JSON object a line. It exits when standard input ends. The commands:
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

const [modulesFolder, password, turnTimeoutSeconds] = process.argv.slice(2);
const distribution = path.join(modulesFolder, "@unni-craftsman", "pglite", "dist");
const pool = new Pool({
  pgliteUrl: pathToFileURL(path.join(distribution, "index.js")).href,
  timescaledbUrl: pathToFileURL(path.join(distribution, "timescaledb", "index.js")).href,
});
const sessions = new Map();
let lastProcessId = 1000;

const shared = {
  password,
  databases: new Databases(pool, Number(turnTimeoutSeconds) * 1000),
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

const commands = {
  start() {
    return new Promise((resolve, reject) => {
      server = net.createServer(accept).once("error", reject);
      server.listen(port, "127.0.0.1", () => {
        ({ port } = server.address()); // the same port when it starts again
        resolve({ state: "listening", port });
      });
    });
  },

  /** Refuses new connections and cuts existing ones; the databases stay. */
  async stop(mode) {
    const closed = new Promise((resolve) => server.close(resolve));
    const reason = { code: "57P01", message: "terminating connection due to administrator command" };
    const message = mode === "immediate" ? null : reason;
    await Promise.all([...sessions.values()].map((session) => session.terminate(message)));
    await closed;
    return { state: "stopped" };
  },
};

function report(state) {
  process.stdout.write(`${JSON.stringify(state)}\n`);
}

pool.prepare("timescaledb");
report(await commands.start());
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, argument] = line.split(" ");
  report(await commands[name](argument));
}
process.exit(0);
