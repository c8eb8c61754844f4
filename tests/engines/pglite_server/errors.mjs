/** The server's errors; `code` is always a SQLSTATE of PostgreSQL. */

class ErrorWithCode extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The statement fails; the connection continues. */
export class Refusal extends ErrorWithCode {}

/** The connection ends, after an error message to the client. */
export class Fatal extends ErrorWithCode {}

/** The engine has crashed; its data is lost. */
export class EngineCrashed extends ErrorWithCode {
  constructor(reason) {
    super("58000", `the test engine crashed: ${reason}`);
  }
}
