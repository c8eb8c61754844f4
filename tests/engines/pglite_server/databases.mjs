/** The server's databases: each has an engine to itself, which its clients take turns at. */

import { SUPERUSER, allowCopy, restoreState, saveState } from "./client_state.mjs";
import { EngineCrashed, Fatal, Refusal } from "./errors.mjs";
import { Turns } from "./session_queue.mjs";
import { sync } from "./wire.mjs";

// The one that is always there; it gets its engine when somebody asks it for something.
const MAINTENANCE = "postgres";

const DEFAULT_TEMPLATE = "timescaledb";
const TEMPLATES = [DEFAULT_TEMPLATE, "apache", "template0"];

class Database {
  #pool;
  #template;
  #engine = null;
  #active = null;

  constructor(name, template, pool, patienceMilliseconds) {
    this.name = name;
    this.sessions = new Set();
    this.crash = null;
    this.turns = new Turns(patienceMilliseconds);
    this.#template = template;
    this.#pool = pool;
  }

  /** Gets an engine, once. */
  open() {
    this.#engine ??= this.#pool.take(this.#template);
    return this.#engine;
  }

  /**
   * Passes a message on for a session whose turn it is: `{ reply, written }`.
   *
   * @throws Fatal if the session cannot be what its client wants.
   * @throws EngineCrashed if the engine does.
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

  /** Forgets a session, with its transaction and its locks; never fails. */
  async leave(session) {
    if (this.turns.isOwner(session)) {
      await this.#tidy((engine) => engine.execute(sync())); // ends an extended query halfway
      await this.#tidy((engine) => engine.query("ROLLBACK; SELECT pg_advisory_unlock_all()"));
    }
    this.turns.release(session);
    this.sessions.delete(session);
    if (this.#active === session) this.#active = null;
    // What the sessions share, as there is one to the engine, goes with the last of them.
    if (this.sessions.size === 0) await this.#tidy((engine) => engine.query("DISCARD ALL"));
  }

  async #tidy(work) {
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
    await this.#pool.giveBack(engine);
  }

  async #activate(engine, session) {
    const before = this.#active; // it may leave while its state is saved
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
  #patienceMilliseconds;
  #byName = new Map();

  constructor(pool, patienceMilliseconds) {
    this.#pool = pool;
    this.#patienceMilliseconds = patienceMilliseconds;
    this.#add(MAINTENANCE, DEFAULT_TEMPLATE);
  }

  /** @throws Fatal if there is no such database, or its engine is gone. */
  find(name) {
    const database = this.#byName.get(name);
    if (!database) throw new Fatal("3D000", `database "${name}" does not exist`);
    if (database.crash) {
      throw new Fatal("58000", `database "${name}" is gone: ${database.crash}`);
    }
    return database;
  }

  /** @throws Refusal if there is one of that name, or no such template. */
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

  /** @throws Refusal if there is no such database, or somebody is connected to it. */
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
    const why = { code: "57P01", message: "terminating connection due to administrator command" };
    await Promise.all(sessions.map((session) => session.terminate(why)));
    await database.close();
  }

  #add(name, template) {
    const database = new Database(name, template, this.#pool, this.#patienceMilliseconds);
    this.#byName.set(name, database);
    return database;
  }
}
