/** One client's connection: what it sends, message by message, and what it gets back. */

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
  #handle = this.#startUp; // what the next message means
  #databaseName = "";
  #database = null;
  #status = "I";
  #copy = null; // the COPY FROM STDIN that data is coming in for
  #isSkipping = false; // an error in the extended protocol: until the next Sync
  #mayHoldLock = false;

  /**
   * @param socket The client's.
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

  /** Sends a client away that waits for its turn; one whose statement runs is not disturbed. */
  cancel() {
    this.#database?.turns.cancel(this);
  }

  /** Ends the connection, with a word to the client or (null) without; returns when it is over. */
  terminate(why) {
    this.cancel();
    if (why) this.#sendFatal(why);
    else this.#socket.destroy();
    return this.closed;
  }

  async #run() {
    this.#socket.on("error", () => {}); // a client that goes away is no error
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        this.#inbox.push(chunk);
        while (!this.#socket.destroyed && (await this.#step()));
      }
    } catch (error) {
      this.#sayGoodbye(error);
    } finally {
      await this.#leave();
    }
  }

  /** Handles one message, if one is there whole. */
  async #step() {
    const isFirst = this.#handle === this.#startUp;
    const message = isFirst ? this.#inbox.nextUntyped() : this.#inbox.next();
    if (message === null) return false;
    await this.#handle(message);
    return true;
  }

  #sayGoodbye(error) {
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

  // ---- how a connection begins ----

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
    // Other users are roles that a test has made; whether they exist shows when they do something.
    if (type !== "p" || (user === SUPERUSER && password !== this.#server.password)) {
      throw new Fatal("28P01", `password authentication failed for user "${user}"`);
    }
    this.#database = this.#server.databases.find(this.#databaseName);
    this.#database.sessions.add(this);
    this.#handle = this.#serve;
    this.#send(...welcome(this.processId, this.secret));
  }

  // ---- what a client may ask ----

  async #serve({ type, body, bytes }) {
    try {
      if (type === "X") this.#socket.end();
      else if (this.#copy) await this.#collect(type, body);
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
    const { reply, written } = await this.#inTurn(message, { sql });
    if (copy && !wire.firstError(reply)) this.#sendCopy(copy, written);
    this.#send(reply);
  }

  /** The extended protocol's messages go to the engine one by one, as they come. */
  async #extended(type, body, bytes) {
    if (this.#isSkipping && type !== "S") return;
    if (type === "S" && !this.#database.turns.isOwner(this)) {
      this.#isSkipping = false;
      return this.#send(wire.readyForQuery(this.#status));
    }
    if (type === "H") return; // Flush: nothing is held back
    if (!"PBDECS".includes(type)) throw new Fatal("08P01", `unknown message type "${type}"`);
    const sql = type === "P" ? wire.cutText(wire.cutText(body)[1])[0] : "";
    if (clientCopy(sql)) throw new Refusal("0A000", "COPY with the client needs a simple query");
    if (type === "S") this.#isSkipping = false;
    const { reply } = await this.#inTurn(bytes, { sql });
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

  /** COPY FROM STDIN: the data is collected and given to the engine as one blob. */
  async #collect(type, body) {
    if (type === "d") this.#copy.chunks.push(body);
    if (type !== "c" && type !== "f") return;
    const { serverSql, chunks } = this.#copy;
    this.#copy = null;
    if (type === "f") {
      throw new Refusal("57014", `COPY from stdin failed: ${wire.cutText(body)[0]}`);
    }
    const message = wire.simpleQuery(serverSql);
    const { reply } = await this.#inTurn(message, { sql: serverSql, blob: Buffer.concat(chunks) });
    this.#send(reply);
  }

  #sendCopy({ isBinary }, written = Buffer.alloc(0)) {
    this.#send(wire.copyOutResponse(isBinary));
    for (let start = 0; start < written.length; start += COPY_CHUNK_BYTES) {
      this.#send(wire.copyData(written.subarray(start, start + COPY_CHUNK_BYTES)));
    }
    this.#send(wire.copyDone());
  }

  // ---- turns ----

  /** Waits for the turn, passes the message on and gives the turn up when no transaction is open. */
  async #inTurn(message, { sql, blob }) {
    await this.#database.turns.acquire(this);
    const result = await this.#database.execute(this, message, blob);
    this.settingsMayDiffer ||= mayChangeSettings(sql);
    this.#mayHoldLock ||= mayLock(sql);
    const status = wire.statusAfter(result.reply);
    if (status !== null) {
      this.#status = status;
      if (status === "I" && !(await this.#holdsLock())) this.#database.turns.release(this);
    }
    return result;
  }

  /** An advisory lock of a session must keep others out, who are the same session to the engine. */
  async #holdsLock() {
    if (!this.#mayHoldLock) return false;
    const { reply } = await this.#database.execute(this, wire.simpleQuery(HOLDS_LOCK));
    this.#mayHoldLock = wire.rowsOf(reply).length > 0;
    return this.#mayHoldLock;
  }

  /** Answers with an error of the server's own, which fails an open transaction as any other. */
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
    const { reply } = await this.#inTurn(wire.simpleQuery(raise), { sql: "" });
    this.#send(reply);
  }
}
