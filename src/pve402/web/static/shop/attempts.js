// The payment that is open in this browser, if there is one. It is written down before a wallet is
// asked to sign, again with the signature before that is sent, and struck out once its outcome is
// known. While it is there, no other is begun, in no tab.

import { Stopped } from "./problems.js";
import * as storage from "./storage.js";
import * as words from "./words.js";

const KEY = "pve402.payment";

// Runs work while no other tab does the same; throws Stopped if one does.
export function alone(work) {
  if (!navigator.locks) return work();
  return navigator.locks.request(KEY, { ifAvailable: true }, (lock) => {
    if (!lock) throw new Stopped(words.OPEN_ELSEWHERE);
    return work();
  });
}

// Runs work once no other tab does the same; `waiting` is called if one does.
export async function inTurn(work, waiting) {
  if (!navigator.locks) return work();
  const { held } = await navigator.locks.query();
  if (held.some((lock) => lock.name === KEY)) waiting();
  return navigator.locks.request(KEY, () => work());
}

export const open = () => storage.read(localStorage, KEY, null);

// Throws Stopped if there is another, or if the browser keeps nothing.
export function begin(attempt) {
  if (open()) throw new Stopped(words.STILL_OPEN);
  write(attempt);
}

// Adds facts to the open payment. Throws Stopped if it is not there any more.
export function note(attempt, more) {
  if (open()?.id !== attempt.id) throw new Stopped(words.FORGOTTEN);
  const noted = { ...attempt, ...more };
  write(noted);
  return noted;
}

export function close(attempt) {
  if (open()?.id === attempt.id) localStorage.removeItem(KEY);
}

// Whether an attempt without a signature is certainly over: nobody can be signing it any more.
export const isOver = (attempt) =>
  Boolean(navigator.locks) || Number(attempt.authorized.validBefore) * 1000 < Date.now();

function write(attempt) {
  try {
    localStorage.setItem(KEY, JSON.stringify(attempt));
  } catch {
    throw new Stopped(words.KEEPS_NOTHING);
  }
}
