/**
 * The main thread's side of the engines: each runs on a thread of its own (`engine_worker.mjs`),
 * and those that nobody uses any more are put back to how they booted and used again.
 */

import { Worker } from "node:worker_threads";

import { EngineCrashed, Fatal } from "./errors.mjs";
import { firstError, rowsOf, simpleQuery, withoutChatter } from "./wire.mjs";

export class Engine {
  #worker;
  #pending = [];
  #crash = null;

  constructor(template, locations) {
    this.template = template;
    this.#worker = new Worker(new URL("./engine_worker.mjs", import.meta.url), {
      workerData: locations,
    });
    this.#worker.on("message", ({ result, crash }) => {
      if (crash !== undefined) this.#die(crash);
      else this.#pending.shift().resolve(result);
    });
    this.#worker.on("error", (error) => this.#die(error.message));
    this.#worker.on("exit", (code) => this.#die(`its thread ended with ${code}`));
    this.ready = this.#ask("boot", { template });
  }

  /** Passes one wire message on: `{ reply, written }`, the answer and what COPY TO has written. */
  async execute(message, blob) {
    const { reply, written } = await this.#ask("execute", { message, blob });
    return { reply: withoutChatter(reply), written };
  }

  /**
   * Runs SQL of the server's own and returns its rows.
   *
   * @throws Fatal if the engine answers with an error.
   */
  async query(sql) {
    const { reply } = await this.execute(simpleQuery(sql));
    const error = firstError(reply);
    if (error) throw new Fatal(error.code, error.message);
    return rowsOf(reply);
  }

  /** Puts it back to how it booted: whether that could be done. */
  async restore() {
    try {
      return await this.#ask("restore", {});
    } catch (error) {
      if (error instanceof EngineCrashed) return false;
      throw error;
    }
  }

  end() {
    return this.#worker.terminate();
  }

  #ask(name, parameters) {
    return new Promise((resolve, reject) => {
      if (this.#crash) return reject(new EngineCrashed(this.#crash));
      this.#pending.push({ resolve, reject });
      this.#worker.postMessage({ name, parameters });
    });
  }

  #die(reason) {
    this.#crash ??= reason;
    this.#pending.splice(0).forEach(({ reject }) => reject(new EngineCrashed(this.#crash)));
  }
}

/** Engines that are booted and not in use, by template. */
export class Pool {
  #locations;
  #idle = [];

  constructor(locations) {
    this.#locations = locations;
  }

  /** Boots one ahead of the first use. */
  prepare(template) {
    const engine = new Engine(template, this.#locations);
    engine.ready.catch(() => {}); // whoever takes it will see
    this.#idle.push(engine);
  }

  async take(template) {
    const place = this.#idle.findIndex((engine) => engine.template === template);
    const engine =
      place < 0 ? new Engine(template, this.#locations) : this.#idle.splice(place, 1)[0];
    await engine.ready;
    return engine;
  }

  async giveBack(engine) {
    if (await engine.restore()) this.#idle.push(engine);
    else await engine.end();
  }
}
