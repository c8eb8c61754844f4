/** The server's databases. Each has its own engine, and a queue of clients for its one session. */

import { SUPERUSER, allowCopy, restoreState, saveState } from "./client_state.mjs";
import { EngineCrashed, Fatal, Refusal } from "./errors.mjs";
import { SessionQueue } from "./session_queue.mjs";
import { sync } from "./wire.mjs";

// This database always exists; it gets its engine at the first statement.
const MAINTENANCE = "postgres";

const DEFAULT_TEMPLATE = "timescaledb";
const TEMPLATES = [DEFAULT_TEMPLATE, "apache", "template0"];

class Database {
  #pool;
  #template;
  #engine = null;
  #active = null;

  constructor(name, template, pool, timeoutMilliseconds) {
    this.name = name;
    this.sessions = new Set();
    this.crash = null;
    this.queue = new SessionQueue(timeoutMilliseconds);
    this.#template = template;
    this.#pool = pool;
  }

  /** Gets an engine, once. */
  open() {
    this.#engine ??= this.#pool.take(this.#template);
    return this.#engine;
  }

  /**
   * Sends a message of the session that holds the engine: `{ reply, written }`.
   *
   * @throws Fatal if the session's user, role or settings are not valid.
   * @throws EngineCrashed if the engine crashes.
   */
  async execute(session, message, blob) {
    const engine = await this.open();
    try {
      if (this.#active !== session) await this.#activate(engine, session);
      return await engine.execute(message, blob);
    } catch (error) {
      if (error instanceof EngineCrashed) this.crash = error.message;
      throw error;
    }
  }

  /** Removes a session, with its transaction and locks; never fails. */
  async leave(session) {
    if (this.queue.isHolder(session)) {
      await this.#runCleanup((engine) => engine.execute(sync())); // ends an unfinished extended query
      await this.#runCleanup((engine) => engine.query("ROLLBACK; SELECT pg_advisory_unlock_all()"));
    }
    this.queue.release(session);
    this.sessions.delete(session);
    if (this.#active === session) this.#active = null;
    // The sessions share prepared statements and temporary tables; the last one discards them.
    if (this.sessions.size === 0) await this.#runCleanup((engine) => engine.query("DISCARD ALL"));
  }

  async #runCleanup(work) {
    if (this.#engine === null || this.crash) return;
    try {
      await work(await this.#engine);
    } catch (error) {
      this.crash = error.message;
    }
  }

  async close() {
    if (this.#engine === null) return;
    const engine = await this.#engine;
    await this.#pool.release(engine);
  }

  async #activate(engine, session) {
    const before = this.#active; // it may be removed while its state is saved
    if (before?.settingsMayDiffer) {
      before.state = await saveState(engine);
      before.settingsMayDiffer = false;
    }
    this.#active = null;
    const { user } = session.state;
    if (user !== SUPERUSER && !session.mayCopy) {
      await allowCopy(engine, user);
      session.mayCopy = true;
    }
    await restoreState(engine, session.state);
    this.#active = session;
  }
}

export class Databases {
  #pool;
  #timeoutMilliseconds;
  #byName = new Map();

  constructor(pool, timeoutMilliseconds) {
    this.#pool = pool;
    this.#timeoutMilliseconds = timeoutMilliseconds;
    this.#add(MAINTENANCE, DEFAULT_TEMPLATE);
  }

  /** @throws Fatal if there is no such database, or its engine has crashed. */
  find(name) {
    const database = this.#byName.get(name);
    if (!database) throw new Fatal("3D000", `database "${name}" does not exist`);
    if (database.crash) {
      throw new Fatal("58000", `database "${name}" is gone: ${database.crash}`);
    }
    return database;
  }

  /** @throws Refusal if the name is taken, or there is no such template. */
  async create(name, template = DEFAULT_TEMPLATE) {
    if (this.#byName.has(name)) {
      throw new Refusal("42P04", `database "${name}" already exists`);
    }
    if (!TEMPLATES.includes(template)) {
      const known = TEMPLATES.join(", ");
      throw new Refusal("3D000", `template "${template}" does not exist; known: ${known}`);
    }
    try {
      await this.#add(name, template).open();
    } catch (error) {
      this.#byName.delete(name);
      throw new Refusal("58000", `create database "${name}": ${error.message}`);
    }
  }

  /** @throws Refusal if there is no such database, or clients are connected to it. */
  async drop(name, { ifExists, force }) {
    const database = this.#byName.get(name);
    if (!database && ifExists) return;
    if (!database || name === MAINTENANCE) {
      throw new Refusal("3D000", `database "${name}" does not exist or may not be dropped`);
    }
    const sessions = [...database.sessions];
    if (sessions.length > 0 && !force) {
      throw new Refusal("55006", `database "${name}" is being accessed by other users`);
    }
    this.#byName.delete(name);
    const reason = { code: "57P01", message: "terminating connection due to administrator command" };
    await Promise.all(sessions.map((session) => session.terminate(reason)));
    await database.close();
  }

  #add(name, template) {
    const database = new Database(name, template, this.#pool, this.#timeoutMilliseconds);
    this.#byName.set(name, database);
    return database;
  }
}
