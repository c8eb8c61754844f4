/** One client's connection: reads its messages and sends the replies. */

import { SUPERUSER } from "./client_state.mjs";
import { EngineCrashed, Fatal, Refusal } from "./errors.mjs";
import { clientCopy, databaseCommand, mayChangeSettings, mayLock, quotedText } from "./sql.mjs";
import { readStartUp, welcome } from "./startup.mjs";
import * as wire from "./wire.mjs";

const COPY_CHUNK_BYTES = 65536;
const HOLDS_LOCK = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' LIMIT 1";

export class Session {
  #socket;
  #server;
  #inbox = new wire.Inbox();
  #handle = this.#startUp; // handles the next message
  #databaseName = "";
  #database = null;
  #status = "I";
  #copy = null; // the COPY FROM STDIN whose data is arriving
  #isSkipping = false; // after an error in the extended protocol, until the next Sync
  #mayHoldLock = false;

  /**
   * @param socket The socket of the client.
   * @param server `{ databases, password, cancel(processId, secret) }`.
   */
  constructor(socket, server, processId, secret) {
    this.#socket = socket;
    this.#server = server;
    this.processId = processId;
    this.secret = secret;
    this.state = { user: SUPERUSER, role: SUPERUSER, settings: [] };
    this.settingsMayDiffer = false;
    this.mayCopy = false;
    this.closed = this.#run();
  }

  toString() {
    const name = Object.fromEntries(this.state.settings).application_name;
    return `client ${this.processId}${name ? ` (${name})` : ""}`;
  }

  /** Ends the wait of the client for the engine; a running statement continues. */
  cancel() {
    this.#database?.queue.cancel(this);
  }

  /** Ends the connection, with an error to the client unless `reason` is null. */
  terminate(reason) {
    this.cancel();
    if (reason) this.#sendFatal(reason);
    else this.#socket.destroy();
    return this.closed;
  }

  async #run() {
    this.#socket.on("error", () => {}); // a client that disconnects is not an error
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        this.#inbox.push(chunk);
        while (!this.#socket.destroyed && (await this.#step()));
      }
    } catch (error) {
      this.#reportError(error);
    } finally {
      await this.#leave();
    }
  }

  /** Handles one message, if a complete one has arrived. */
  async #step() {
    const isFirst = this.#handle === this.#startUp;
    const message = isFirst ? this.#inbox.nextUntyped() : this.#inbox.next();
    if (message === null) return false;
    await this.#handle(message);
    return true;
  }

  #reportError(error) {
    if (error instanceof EngineCrashed) {
      for (const session of this.#database.sessions) session.terminate(error);
    } else if (error instanceof Fatal) {
      this.#sendFatal(error);
    } else if (!this.#socket.destroyed) {
      console.error(error);
      this.#sendFatal({ code: "XX000", message: `a bug of the test server: ${error.stack}` });
    }
  }

  #sendFatal({ code, message }) {
    this.#socket.end(wire.errorResponse({ severity: "FATAL", code, message }));
    this.#socket.destroySoon();
  }

  async #leave() {
    this.#socket.destroySoon();
    await this.#database?.leave(this);
  }

  #send(...messages) {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(messages));
  }

  // ---- start of a connection ----

  #startUp(body) {
    const { kind, user, database, settings, processId, secret } = readStartUp(body);
    if (kind === "encryption") return this.#send(Buffer.from("N"));
    if (kind === "cancel") {
      this.#server.cancel(processId, secret);
      return this.#socket.end();
    }
    this.state = { user, role: user, settings };
    this.#databaseName = database;
    this.#handle = this.#readPassword;
    this.#send(wire.askForPassword());
  }

  #readPassword({ type, body }) {
    const { user } = this.state;
    const [password] = wire.cutText(body);
    // Other users are roles that a test has created. A missing role fails at the first statement.
    if (type !== "p" || (user === SUPERUSER && password !== this.#server.password)) {
      throw new Fatal("28P01", `password authentication failed for user "${user}"`);
    }
    this.#database = this.#server.databases.find(this.#databaseName);
    this.#database.sessions.add(this);
    this.#handle = this.#serve;
    this.#send(...welcome(this.processId, this.secret));
  }

  // ---- messages of a client ----

  async #serve({ type, body, bytes }) {
    try {
      if (type === "X") this.#socket.end();
      else if (this.#copy) await this.#collectCopyData(type, body);
      else if (type === "Q") await this.#query(wire.cutText(body)[0], bytes);
      else await this.#extended(type, body, bytes);
    } catch (error) {
      await this.#refuse(error, type);
    }
  }

  async #query(sql, bytes) {
    const command = databaseCommand(sql);
    if (command) return this.#administer(command);
    const copy = clientCopy(sql);
    if (copy?.direction === "in") {
      this.#copy = { ...copy, chunks: [] };
      return this.#send(wire.copyInResponse(copy.isBinary));
    }
    const message = copy ? wire.simpleQuery(copy.serverSql) : bytes;
    const { reply, written } = await this.#execute(message, { sql });
    if (copy && !wire.firstError(reply)) this.#sendCopy(copy, written);
    this.#send(reply);
  }

  /** The messages of the extended protocol go to the engine one by one. */
  async #extended(type, body, bytes) {
    if (this.#isSkipping && type !== "S") return;
    if (type === "S" && !this.#database.queue.isHolder(this)) {
      this.#isSkipping = false;
      return this.#send(wire.readyForQuery(this.#status));
    }
    if (type === "H") return; // Flush: nothing is buffered
    if (!"PBDECS".includes(type)) throw new Fatal("08P01", `unknown message type "${type}"`);
    const sql = type === "P" ? wire.cutText(wire.cutText(body)[1])[0] : "";
    if (clientCopy(sql)) throw new Refusal("0A000", "COPY with the client needs a simple query");
    if (type === "S") this.#isSkipping = false;
    const { reply } = await this.#execute(bytes, { sql });
    this.#send(reply);
  }

  async #administer(command) {
    const { action, name } = command;
    const tag = `${action.toUpperCase()} DATABASE`;
    if (this.#status !== "I") {
      throw new Refusal("25001", `${tag} cannot run inside a transaction block`);
    }
    const { databases } = this.#server;
    if (action === "create") await databases.create(name, command.template);
    else await databases.drop(name, command);
    this.#send(wire.commandComplete(tag), wire.readyForQuery("I"));
  }

  /** COPY FROM STDIN: the engine gets the collected data as one blob. */
  async #collectCopyData(type, body) {
    if (type === "d") this.#copy.chunks.push(body);
    if (type !== "c" && type !== "f") return;
    const { serverSql, chunks } = this.#copy;
    this.#copy = null;
    if (type === "f") {
      throw new Refusal("57014", `COPY from stdin failed: ${wire.cutText(body)[0]}`);
    }
    const message = wire.simpleQuery(serverSql);
    const { reply } = await this.#execute(message, { sql: serverSql, blob: Buffer.concat(chunks) });
    this.#send(reply);
  }

  #sendCopy({ isBinary }, written = Buffer.alloc(0)) {
    this.#send(wire.copyOutResponse(isBinary));
    for (let start = 0; start < written.length; start += COPY_CHUNK_BYTES) {
      this.#send(wire.copyData(written.subarray(start, start + COPY_CHUNK_BYTES)));
    }
    this.#send(wire.copyDone());
  }

  // ---- the engine's one session ----

  /** Acquires the engine, runs the message, and releases the engine unless a transaction is open. */
  async #execute(message, { sql, blob }) {
    await this.#database.queue.acquire(this);
    const result = await this.#database.execute(this, message, blob);
    this.settingsMayDiffer ||= mayChangeSettings(sql);
    this.#mayHoldLock ||= mayLock(sql);
    const status = wire.statusAfter(result.reply);
    if (status !== null) {
      this.#status = status;
      if (status === "I" && !(await this.#holdsLock())) this.#database.queue.release(this);
    }
    return result;
  }

  /** A session-level advisory lock must block other clients, which share the engine's session. */
  async #holdsLock() {
    if (!this.#mayHoldLock) return false;
    const { reply } = await this.#database.execute(this, wire.simpleQuery(HOLDS_LOCK));
    this.#mayHoldLock = wire.rowsOf(reply).length > 0;
    return this.#mayHoldLock;
  }

  /** Replies with an error of this server, which also aborts an open transaction. */
  async #refuse(error, type) {
    if (!(error instanceof Refusal)) throw error;
    const { code, message } = error;
    if (type !== "Q" && type !== "c" && type !== "f") {
      this.#isSkipping = true;
      return this.#send(wire.errorResponse({ code, message }));
    }
    if (this.#status === "I") {
      return this.#send(wire.errorResponse({ code, message }), wire.readyForQuery("I"));
    }
    const raise =
      "DO $$ BEGIN RAISE EXCEPTION USING" +
      ` ERRCODE = ${quotedText(code)}, MESSAGE = ${quotedText(message)}; END $$`;
    const { reply } = await this.#execute(wire.simpleQuery(raise), { sql: "" });
    this.#send(reply);
  }
}
