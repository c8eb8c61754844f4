/**
 * The main thread's side of the engines. Each engine runs in its own thread (`engine_worker.mjs`).
 * Released engines are restored to the state after their boot and used again.
 */

import { Worker } from "node:worker_threads";

import { EngineCrashed, Fatal } from "./errors.mjs";
import { firstError, rowsOf, simpleQuery, withoutAbortNotices } from "./wire.mjs";

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
      if (crash !== undefined) this.#fail(crash);
      else this.#pending.shift().resolve(result);
    });
    this.#worker.on("error", (error) => this.#fail(error.message));
    this.#worker.on("exit", (code) => this.#fail(`its thread ended with ${code}`));
    this.ready = this.#request("boot", { template });
  }

  /** Runs one wire message: `{ reply, written }`, the reply and the output of COPY TO. */
  async execute(message, blob) {
    const { reply, written } = await this.#request("execute", { message, blob });
    return { reply: withoutAbortNotices(reply), written };
  }

  /**
   * Runs SQL of the server itself and returns its rows.
   *
   * @throws Fatal if the engine replies with an error.
   */
  async query(sql) {
    const { reply } = await this.execute(simpleQuery(sql));
    const error = firstError(reply);
    if (error) throw new Fatal(error.code, error.message);
    return rowsOf(reply);
  }

  /** Restores the state after the boot; returns whether that was possible. */
  async restore() {
    try {
      return await this.#request("restore", {});
    } catch (error) {
      if (error instanceof EngineCrashed) return false;
      throw error;
    }
  }

  end() {
    return this.#worker.terminate();
  }

  #request(name, parameters) {
    return new Promise((resolve, reject) => {
      if (this.#crash) return reject(new EngineCrashed(this.#crash));
      this.#pending.push({ resolve, reject });
      this.#worker.postMessage({ name, parameters });
    });
  }

  #fail(reason) {
    this.#crash ??= reason;
    this.#pending.splice(0).forEach(({ reject }) => reject(new EngineCrashed(this.#crash)));
  }
}

/** Booted engines that are not in use, by template. */
export class Pool {
  #locations;
  #idle = [];

  constructor(locations) {
    this.#locations = locations;
  }

  /** Boots an engine before the first use. */
  prepare(template) {
    const engine = new Engine(template, this.#locations);
    engine.ready.catch(() => {}); // `take` reports the error
    this.#idle.push(engine);
  }

  async take(template) {
    const index = this.#idle.findIndex((engine) => engine.template === template);
    const engine =
      index < 0 ? new Engine(template, this.#locations) : this.#idle.splice(index, 1)[0];
    await engine.ready;
    return engine;
  }

  async release(engine) {
    if (await engine.restore()) this.#idle.push(engine);
    else await engine.end();
  }
}
