/**
 * The queue of clients for an engine's one session. A client holds the session for one transaction;
 * the queue is first in, first out.
 */

import { Refusal } from "./errors.mjs";

export class SessionQueue {
  #holder = null;
  #waiting = [];
  #timeoutMilliseconds;

  constructor(timeoutMilliseconds) {
    this.#timeoutMilliseconds = timeoutMilliseconds;
  }

  isHolder(client) {
    return this.#holder === client;
  }

  /**
   * Waits until the client holds the session; it does until it calls `release`.
   *
   * @throws Refusal after the timeout, or when `cancel` is called.
   */
  acquire(client) {
    if (this.#holder === null) this.#holder = client;
    if (this.#holder === client) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const entry = { client, resolve, reject };
      entry.timer = setTimeout(() => {
        const seconds = this.#timeoutMilliseconds / 1000;
        const reason = `waited ${seconds} s for the engine's one session, which ${this.#holder} has`;
        this.#refuse(entry, "55P03", `${reason} until its transaction and its advisory locks end`);
      }, this.#timeoutMilliseconds);
      this.#waiting.push(entry);
    });
  }

  /** Passes the session to the next client, if this client holds it. */
  release(client) {
    if (this.#holder !== client) return;
    const next = this.#waiting.shift();
    this.#holder = next?.client ?? null;
    if (!next) return;
    clearTimeout(next.timer);
    next.resolve();
  }

  /** Refuses a waiting client; does nothing if the client does not wait. */
  cancel(client) {
    const entry = this.#waiting.find((waiting) => waiting.client === client);
    if (entry) this.#refuse(entry, "57014", "canceling statement due to user request");
  }

  #refuse(entry, code, message) {
    clearTimeout(entry.timer);
    this.#waiting.splice(this.#waiting.indexOf(entry), 1);
    entry.reject(new Refusal(code, message));
  }
}
