/** What can go wrong; `code` is always the SQLSTATE that PostgreSQL has for it. */

class ErrorWithCode extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The statement is answered with an error; the connection goes on. */
export class Refusal extends ErrorWithCode {}

/** The connection ends, after telling the client why. */
export class Fatal extends ErrorWithCode {}

/** The engine hit a bug of its own and is gone, with its data. */
export class EngineCrashed extends ErrorWithCode {
  constructor(reason) {
    super("58000", `the test engine crashed: ${reason}`);
  }
}
