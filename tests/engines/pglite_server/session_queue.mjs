/**
 * Whose turn it is: an engine has one session, so its clients take turns, transaction by
 * transaction, in the order in which they asked.
 */

import { Refusal } from "./errors.mjs";

export class Turns {
  #owner = null;
  #waiting = [];
  #patienceMilliseconds;

  constructor(patienceMilliseconds) {
    this.#patienceMilliseconds = patienceMilliseconds;
  }

  isOwner(client) {
    return this.#owner === client;
  }

  /**
   * Waits until it is the client's turn, which it keeps until it releases it.
   *
   * @throws Refusal if it takes too long, or `cancel` is called.
   */
  acquire(client) {
    if (this.#owner === null) this.#owner = client;
    if (this.#owner === client) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const place = { client, resolve, reject };
      place.timer = setTimeout(() => {
        const seconds = this.#patienceMilliseconds / 1000;
        const reason = `waited ${seconds} s for the engine's one session, which ${this.#owner} has`;
        this.#refuse(place, "55P03", `${reason} until its transaction and its advisory locks end`);
      }, this.#patienceMilliseconds);
      this.#waiting.push(place);
    });
  }

  /** Ends the client's turn, if it has it, and begins the next one's. */
  release(client) {
    if (this.#owner !== client) return;
    const next = this.#waiting.shift();
    this.#owner = next?.client ?? null;
    if (!next) return;
    clearTimeout(next.timer);
    next.resolve();
  }

  /** Sends a waiting client away; a client that does not wait is left alone. */
  cancel(client) {
    const place = this.#waiting.find((waiting) => waiting.client === client);
    if (place) this.#refuse(place, "57014", "canceling statement due to user request");
  }

  #refuse(place, code, message) {
    clearTimeout(place.timer);
    this.#waiting.splice(this.#waiting.indexOf(place), 1);
    place.reject(new Refusal(code, message));
  }
}
