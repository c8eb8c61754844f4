/**
 * A client's user, role and settings. The engine has one session, so they are saved and restored when
 * another client uses it.
 */

import { quotedName, quotedText } from "./sql.mjs";

// The superuser that the engine runs as.
export const SUPERUSER = "postgres";

const SAVE = `
  SELECT session_user, current_user;
  SELECT name, current_setting(name) FROM pg_settings
   WHERE source = 'session' AND name NOT LIKE 'transaction\\_%'`;

/** Reads the state of the session: `{ user, role, settings }`. */
export async function saveState(engine) {
  const [[user, role], ...settings] = await engine.query(SAVE);
  return { user, role, settings };
}

/**
 * Gives the session the state of a client.
 *
 * @throws Fatal if there is no such user, role or setting.
 */
export async function restoreState(engine, { user, role, settings }) {
  const statements = [
    `SET SESSION AUTHORIZATION ${quotedName(SUPERUSER)}`,
    "RESET ROLE",
    "RESET ALL",
    ...settings.map(
      ([name, value]) => `SELECT set_config(${quotedText(name)}, ${quotedText(value)}, false)`,
    ),
    user !== SUPERUSER && `SET SESSION AUTHORIZATION ${quotedName(user)}`,
    role !== user && `SET ROLE ${quotedName(role)}`,
  ];
  await engine.query(statements.filter(Boolean).join(";\n"));
}

/**
 * Grants a user what COPY needs: here it reads and writes a file, the engine's blob device.
 *
 * @throws Fatal if there is no such user.
 */
export async function allowCopy(engine, user) {
  const grant = `GRANT pg_read_server_files, pg_write_server_files TO ${quotedName(user)}`;
  await engine.query(`SET SESSION AUTHORIZATION ${quotedName(SUPERUSER)}; ${grant}`);
}
