/**
 * Recognises the statements that the server itself handles: COPY from or to the client, and CREATE and
 * DROP DATABASE. Parses SQL only as far as that needs.
 */

import { Refusal } from "./errors.mjs";

const UNSUPPORTED = "0A000";

const TOKEN = new RegExp(
  [
    /--[^\n]*/, // a comment
    /\/\*(?:[^*]|\*(?!\/))*\*\//, // a block comment; nested ones are not supported
    /(?:[eE]'(?:[^'\\]|\\.|'')*'|[xXbBnN]?'(?:[^']|'')*')/, // a string
    /(?<tag>\$(?:[A-Za-z_]\w*)?\$)[^]*?\k<tag>/, // a dollar-quoted string
    /"(?:[^"]|"")*"/, // a quoted name
    /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/, // a word
    /[^]/, // anything else, one character at a time
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/**
 * Parses a COPY between client and server; null for every other statement.
 *
 * @returns `{ direction: "in" | "out", isBinary, serverSql }`; `serverSql` has the engine's blob device
 *     instead of the client.
 * @throws Refusal if the COPY is one of several statements.
 */
export function clientCopy(sql) {
  if (!/\bcopy\b/i.test(sql) || !/\bstd(in|out)\b/i.test(sql)) return null;
  const statements = topLevelWords(sql);
  const found = statements.map(findClient).find(Boolean);
  if (!found) return null;
  if (statements.length > 1) {
    throw new Refusal(UNSUPPORTED, "COPY with the client must be the only statement of a query");
  }
  const { word, direction } = found;
  const options = sql.slice(word.end);
  return {
    direction,
    isBinary: /\bbinary\b/i.test(options),
    serverSql: `${sql.slice(0, word.start)}'/dev/blob'${options}`,
  };
}

/** The words outside of quotes, comments and parentheses, statement by statement. */
function topLevelWords(sql) {
  const statements = [[]];
  let depth = 0;
  for (const { 0: text, index: start } of sql.matchAll(TOKEN)) {
    if (text === "(") depth += 1;
    else if (text === ")") depth -= 1;
    else if (text === ";") statements.push([]);
    else if (depth === 0 && /^[A-Za-z_]\w*$/.test(text)) {
      statements.at(-1).push({ text: text.toUpperCase(), start, end: start + text.length });
    }
  }
  return statements.filter((words) => words.length > 0);
}

function findClient(words) {
  if (words[0].text !== "COPY") return null;
  const index = words.findIndex(({ text }, number) => {
    const before = words[number - 1]?.text;
    return (before === "FROM" && text === "STDIN") || (before === "TO" && text === "STDOUT");
  });
  if (index < 0) return null;
  return { word: words[index], direction: words[index].text === "STDIN" ? "in" : "out" };
}

const NAME = String.raw`("(?:[^"]|"")+"|\w+)`;
const CREATE = new RegExp(
  String.raw`^\s*CREATE\s+DATABASE\s+${NAME}(?:\s+(?:WITH\s+)?TEMPLATE\s*=?\s*${NAME})?\s*;?\s*$`,
  "i",
);
const DROP = new RegExp(
  String.raw`^\s*DROP\s+DATABASE\s+(IF\s+EXISTS\s+)?${NAME}(\s+(?:WITH\s*)?\(\s*FORCE\s*\))?\s*;?\s*$`,
  "i",
);

/**
 * Parses a CREATE or DROP DATABASE; null for every other statement.
 *
 * @returns `{ action: "create", name, template }` or `{ action: "drop", name, ifExists, force }`.
 * @throws Refusal for options that are not supported.
 */
export function databaseCommand(sql) {
  if (!/^\s*(create|drop)\s+database\b/i.test(sql)) return null;
  const create = CREATE.exec(sql);
  if (create) {
    const [, name, template] = create;
    return { action: "create", name: plain(name), template: template && plain(template) };
  }
  const drop = DROP.exec(sql);
  if (drop) {
    const [, ifExists, name, force] = drop;
    return { action: "drop", name: plain(name), ifExists: !!ifExists, force: !!force };
  }
  throw new Refusal(UNSUPPORTED, "CREATE DATABASE takes TEMPLATE only, DROP DATABASE takes FORCE");
}

function plain(name) {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase();
}

export const quotedName = (name) => `"${name.replaceAll('"', '""')}"`;

/** A string constant that does not depend on standard_conforming_strings. */
export const quotedText = (text) =>
  `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/** Whether the SQL may change settings of the session. */
export const mayChangeSettings = (sql) => /\b(set|reset|discard|set_config)\b/i.test(sql);

/** Whether the SQL may leave an advisory lock. */
export const mayLock = (sql) => /advisory/i.test(sql);
