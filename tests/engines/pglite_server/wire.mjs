/**
 * PostgreSQL's wire protocol, version 3.0: splits a stream into messages and builds those that a server
 * sends. Handles only bytes, no sockets or engines.
 */

const HEADER_BYTES = 5;
const ABORT_NOTICE = "\0RRecordTransactionAbort\0"; // the field that names the C function

/** Collects chunks and returns complete messages. */
export class Inbox {
  #chunks = [];
  #length = 0;

  push(chunk) {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The body of the next message without a type, which the first message is; or null. */
  nextUntyped() {
    const length = this.#peek(4)?.readInt32BE(0);
    return length === undefined || this.#length < length ? null : this.#take(length).subarray(4);
  }

  /** The next message, `{ type, body, bytes }`, or null while it is incomplete. */
  next() {
    const length = this.#peek(HEADER_BYTES)?.readInt32BE(1);
    if (length === undefined || this.#length < 1 + length) return null;
    const bytes = this.#take(1 + length);
    return { type: String.fromCharCode(bytes[0]), body: bytes.subarray(HEADER_BYTES), bytes };
  }

  #peek(count) {
    if (this.#length < count) return null;
    if (this.#chunks[0].length < count) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0];
  }

  #take(count) {
    const whole = this.#chunks.length > 1 ? Buffer.concat(this.#chunks) : this.#chunks[0];
    const rest = whole.subarray(count);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#length -= count;
    return whole.subarray(0, count);
  }
}

/** Splits a reply of a server into its messages. */
export function* messagesOf(reply) {
  const buffer = Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength);
  for (let start = 0; start < buffer.length; ) {
    const end = start + 1 + buffer.readInt32BE(start + 1);
    const type = String.fromCharCode(buffer[start]);
    yield { type, body: buffer.subarray(start + HEADER_BYTES, end) };
    start = end;
  }
}

/** The state after a reply: "I" idle, "T" in a transaction, "E" in a failed one; or null. */
export function statusAfter(reply) {
  const isReady = reply.length >= 6 && reply.at(-6) === "Z".charCodeAt(0) && reply.at(-2) === 5;
  return isReady ? String.fromCharCode(reply.at(-1)) : null;
}

/** The first error in a reply, `{ code, message }`, or null. */
export function firstError(reply) {
  for (const { type, body } of messagesOf(reply)) {
    if (type !== "E") continue;
    const fields = body.toString().split("\0").map((field) => [field[0], field.slice(1)]);
    const { C: code, M: message } = Object.fromEntries(fields);
    return { code, message };
  }
  return null;
}

/** The reply without the internal notices that the engine sends when a transaction fails. */
export function withoutAbortNotices(reply) {
  const buffer = Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength);
  if (!buffer.includes(ABORT_NOTICE)) return buffer;
  const kept = [...messagesOf(reply)].filter(({ type, body }) => type !== "N" || !body.includes(ABORT_NOTICE));
  return Buffer.concat(kept.map(({ type, body }) => message(type, body)));
}

/** The rows of a reply, each an array of texts and nulls. */
export function rowsOf(reply) {
  return [...messagesOf(reply)].filter(({ type }) => type === "D").map(({ body }) => row(body));
}

function row(body) {
  let position = 2;
  return Array.from({ length: body.readInt16BE(0) }, () => {
    const length = body.readInt32BE(position);
    position += 4;
    if (length < 0) return null;
    position += length;
    return body.toString("utf8", position - length, position);
  });
}

/** The text at the start of a body, up to the zero byte, and the rest. */
export function cutText(body) {
  const end = body.indexOf(0);
  return [body.toString("utf8", 0, end), body.subarray(end + 1)];
}

export const simpleQuery = (text) => message("Q", cString(text));

export const sync = () => message("S");

export const authenticationOk = () => message("R", int32(0));
export const askForPassword = () => message("R", int32(3));
export const backendKey = (processId, secret) => message("K", int32(processId), int32(secret));
export const parameterStatus = (name, value) => message("S", cString(name), cString(value));
export const readyForQuery = (status) => message("Z", Buffer.from(status));
export const commandComplete = (tag) => message("C", cString(tag));

// The number of columns is 0: the engine does not know it before the COPY has run, and clients that only
// forward the bytes do not need it.
export const copyInResponse = (isBinary) => message("G", Buffer.from([isBinary ? 1 : 0, 0, 0]));
export const copyOutResponse = (isBinary) => message("H", Buffer.from([isBinary ? 1 : 0, 0, 0]));
export const copyData = (bytes) => message("d", bytes);
export const copyDone = () => message("c");

/** An ErrorResponse; `severity` is ERROR, or FATAL when the connection ends with it. */
export function errorResponse({ severity = "ERROR", code, message: text, hint }) {
  const fields = [`S${severity}`, `V${severity}`, `C${code}`, `M${text}`, hint && `H${hint}`];
  return message("E", ...fields.filter(Boolean).map(cString), Buffer.from([0]));
}

function message(type, ...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function cString(text) {
  return Buffer.from(`${text}\0`);
}

function int32(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(number);
  return bytes;
}
