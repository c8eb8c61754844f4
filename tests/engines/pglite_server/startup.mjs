/** Reads the first message of a connection, and builds the replies to it. */

import { authenticationOk, backendKey, parameterStatus, readyForQuery } from "./wire.mjs";

const CANCEL_REQUEST = 80877102;
const SSL_REQUEST = 80877103;
const GSS_REQUEST = 80877104;

// The parameters that a server reports to every client; the engine does not report them.
const PARAMETERS = {
  server_version: "17.5",
  server_encoding: "UTF8",
  client_encoding: "UTF8",
  DateStyle: "ISO, MDY",
  IntervalStyle: "postgres",
  TimeZone: "UTC",
  integer_datetimes: "on",
  standard_conforming_strings: "on",
};

const NOT_SETTINGS = new Set(["user", "database", "options", "replication"]);
const OPTION = /(?:-c\s*|--)([\w.-]+)=((?:\\.|\S)*)/g;

/**
 * Reads the body of the first message.
 *
 * @returns `{ kind: "encryption" }`, `{ kind: "cancel", processId, secret }` or
 *     `{ kind: "start", user, database, settings }`, the last as pairs of name and value.
 */
export function readStartUp(body) {
  const code = body.readInt32BE(0);
  if (code === SSL_REQUEST || code === GSS_REQUEST) return { kind: "encryption" };
  if (code === CANCEL_REQUEST) {
    return { kind: "cancel", processId: body.readInt32BE(4), secret: body.readInt32BE(8) };
  }
  const texts = body.toString("utf8", 4).split("\0");
  const given = {};
  for (let index = 0; texts[index]; index += 2) given[texts[index]] = texts[index + 1];
  const { user, database = user, options = "" } = given;
  const settings = Object.entries(given).filter(([name]) => !NOT_SETTINGS.has(name));
  for (const [, name, value] of options.matchAll(OPTION)) {
    settings.push([name.replaceAll("-", "_"), value.replace(/\\(.)/g, "$1")]);
  }
  return { kind: "start", user, database, settings };
}

/** The messages after a successful authentication. */
export function welcome(processId, secret) {
  return [
    authenticationOk(),
    ...Object.entries(PARAMETERS).map(([name, value]) => parameterStatus(name, value)),
    backendKey(processId, secret),
    readyForQuery("I"),
  ];
}
