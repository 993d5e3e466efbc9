// Sends a signed payment until its outcome is known. The same payment buys once, however often it
// is sent, so a lost answer costs nothing but time.

import * as attempts from "./attempts.js";
import { pause } from "./dom.js";
import { transactionIn, header } from "./payment.js";
import * as service from "./service.js";
import * as storage from "./storage.js";

const PASSING = new Set([
  "database_unavailable",
  "internal_error",
  "delivery_pending",
  "order_pending",
  "overloaded",
  "settlement_pending",
  "too_many_requests",
  "try_later",
]);
const FAILED = "provisioning_failed";
const OWED = "payment_owed";
const SHORTEST_PAUSE_SECONDS = 1;
const LONGEST_PAUSE_SECONDS = 15;
const SETTLED_WITHIN_SECONDS = 300; // after which chain and service agree that it is too late

// Resolves to the service's answer; `told(stage, text)` hears how far it is. Throws Refusal if the
// payment was refused, or bought nothing; by then the attempt is closed.
export async function deliver(attempt, told) {
  let known = attempt;
  let isWaiting = false;
  for (let tries = 0; ; tries++) {
    told(known.leaseId ? "making" : "sent", "");
    const answer = await sent(known, isWaiting).catch(() => null);
    const lease = answer?.ok && (await answer.json().catch(() => null));
    if (lease?.leaseId && answer.status === 200) return taken(known, lease, answer);
    if (lease?.leaseId && answer.status === 202 && !isWaiting) {
      known = noted(known, { leaseId: lease.leaseId });
      isWaiting = true;
      continue;
    }
    const refusal = answer && !answer.ok && (await service.refusalOf(answer));
    if (refusal?.status === 401) storage.forgetToken(storage.tokenOf(known.ofLease));
    if (refusal && isFinal(refusal, known)) {
      attempts.close(known);
      refusal.isUnclear = refusal.status < 500 && refusal.status !== 402 && known.isUnclear;
      throw refusal;
    }
    if (answer?.status !== 202) {
      known = noted(known, { isUnclear: true });
      told("unknown", refusal?.message ?? "");
    }
    await pause(1000 * wait(refusal, tries));
  }
}

// The first time it is only accepted, so that the lease is known while it is made.
function sent(attempt, isWaiting) {
  const headers = {
    "PAYMENT-SIGNATURE": header(attempt),
    "Idempotency-Key": attempt.key,
    ...(isWaiting ? {} : { Prefer: "respond-async" }),
  };
  const token = attempt.ofLease ? storage.tokenOf(attempt.ofLease) : "";
  return service.send("POST", attempt.path, { body: attempt.body, headers, token });
}

// Whether a refusal ends the order. Once an order may have been accepted, only an answer about the
// payment itself does, or any after the time in which the payment could still be settled.
export function isFinal(refusal, { leaseId, isUnclear, authorized }) {
  if (refusal.code === FAILED || refusal.code === OWED) return true;
  if (!service.isOurs(refusal) || PASSING.has(refusal.code) || refusal.status >= 500) return false;
  if (refusal.status === 402 || !(leaseId || isUnclear)) return true;
  return refusal.atMs > (Number(authorized.validBefore) + SETTLED_WITHIN_SECONDS) * 1000;
}

// A payment that is sent is followed to its end, even if the browser forgets it meanwhile.
function noted(attempt, more) {
  try {
    return attempts.note(attempt, more);
  } catch {
    return { ...attempt, ...more };
  }
}

function taken(attempt, bought, answer) {
  storage.keepReceipt({
    id: attempt.id,
    at: new Date().toISOString(),
    what: attempt.what,
    leaseId: bought.leaseId,
    amount: attempt.authorized.value,
    network: attempt.network,
    payTo: attempt.authorized.to,
    transaction: bought.transaction ?? transactionIn(answer),
  });
  if (bought.accessToken) storage.keepToken(bought.leaseId, bought.accessToken);
  attempts.close(attempt);
  return bought;
}

function wait(refusal, tries) {
  const asked = refusal?.retryAfterSeconds || SHORTEST_PAUSE_SECONDS * 2 ** Math.min(tries, 5);
  return Math.min(Math.max(asked, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS);
}
