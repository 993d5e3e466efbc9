// Calls to the service that the page came from.

import { Refusal } from "./problems.js";
import * as storage from "./storage.js";
import * as words from "./words.js";

const LIMIT_MS = 90_000;
const NOT_OURS = "unexpected_answer";

export async function send(method, path, { body, headers = {}, token = "", limitMs = LIMIT_MS } = {}) {
  const isJson = body !== undefined && !(body instanceof Blob);
  return fetch(path, {
    method,
    headers: {
      ...(isJson ? { "Content-Type": "application/json" } : {}),
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
    body: isJson ? JSON.stringify(body) : body,
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(limitMs),
  });
}

// The document of a successful answer. Throws Refusal, or Refusal of status 0 without an answer.
export async function call(method, path, options) {
  const answer = await reached(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

export async function reached(method, path, options) {
  let answer;
  try {
    answer = await send(method, path, options);
  } catch {
    throw new Refusal(0, "unreachable", words.UNREACHABLE);
  }
  if (answer.ok) return answer;
  const refusal = await refusalOf(answer);
  if (answer.status === 401 && options?.token) storage.forgetToken(options.token);
  throw refusal;
}

// An answer without a code of ours is not from the service, but from something in between.
export async function refusalOf(answer) {
  const told = await answer.json().catch(() => ({}));
  const code = told.code ?? (told.accepts ? "payment_required" : NOT_OURS);
  const detail = String(told.detail ?? told.error ?? words.answered(answer.status)).slice(0, 500);
  const seconds = Number(answer.headers.get("Retry-After")) || 0;
  const refusal = new Refusal(answer.status, String(code), detail, seconds);
  refusal.atMs = Date.parse(answer.headers.get("Date")) || Date.now();
  return refusal;
}

export const isOurs = (refusal) => refusal.code !== NOT_OURS;
