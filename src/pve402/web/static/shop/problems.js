// What can end a purchase, told apart by what became of the money.

import * as words from "./words.js";

// It ended before anything was sent: nothing is or will be paid.
export class Stopped extends Error {}

// The service said no. `code` is stable, the message is for people.
export class Refusal extends Error {
  constructor(status, code, detail, retryAfterSeconds = 0) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export function messageOf(error) {
  if (error instanceof Stopped) return error.message;
  return error instanceof Refusal ? words.refused(error) : words.UNEXPECTED;
}
