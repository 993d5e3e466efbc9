// From a price to what it buys: says in words what is signed, has it signed, and follows it.
// `review` shows the payment and resolves to whether its user wants it; `told` hears the stages;
// `signal` gives up waiting for the wallet.

import * as attempts from "./attempts.js";
import { deliver } from "./delivery.js";
import * as payment from "./payment.js";
import { Stopped } from "./problems.js";
import * as storage from "./storage.js";
import * as words from "./words.js";

// Buys one thing: `wish` has path, body, offer, network, what, and ofLease for a renewal. Resolves to
// the service's answer. Throws Stopped if nothing was sent, and Refusal.
export function buy(wish, wallet, { review, told, signal }) {
  return attempts.alone(async () => {
    if (attempts.open()) throw new Stopped(words.STILL_OPEN);
    const token = wish.ofLease ? storage.tokenOf(wish.ofLease) : "";
    const required = await payment.askTerms(wish.path, wish.body, token);
    const terms = payment.chosen(required, wish.offer);
    const from = wallet.account;
    await wallet.useChain(wish.network);
    await checkBalance(wallet, terms, wish.offer);
    const authorized = payment.authorization(terms, from, required.aheadSeconds);
    const leaving = leftBy(wallet, signal);
    try {
      if (!(await leaving.or(review({ wish, terms, authorized, wallet })))) throw new Stopped(words.CANCELLED);
      if (!(await wallet.isStill(from))) throw new Stopped(words.OTHER_ACCOUNT);
      const attempt = { ...begun(wish, terms, authorized), resource: required.resource };
      const signed = await sign(attempt, wallet, leaving, told);
      return await deliver(signed, told);
    } finally {
      leaving.end();
    }
  });
}

// Takes up what an earlier page left open. Resolves to null if there is nothing, to the answer if
// there was, and throws as `buy` does.
export function resume(told) {
  const work = async () => {
    const attempt = attempts.open();
    if (!attempt) return null;
    if (attempt.signature) return deliver(attempt, told);
    if (!attempts.isOver(attempt)) throw new Stopped(words.notOver(attempt.authorized.validBefore));
    attempts.close(attempt); // its signature reached nobody
    throw new Stopped(words.INTERRUPTED);
  };
  return attempts.inTurn(work, () => told("elsewhere", ""));
}

function begun(wish, terms, authorized) {
  const { path, body, what, ofLease = "", network } = wish;
  return {
    ...{ path, body, what, ofLease, terms, authorized },
    id: authorized.nonce,
    key: randomKey(),
    network: {
      name: network.title || network.network,
      explorerUrl: network.explorerUrl,
      symbol: network.symbol,
      decimals: network.decimals,
    },
    signature: "",
    leaseId: "",
    isUnclear: false,
  };
}

async function sign(attempt, wallet, leaving, told) {
  attempts.begin(attempt);
  told("signing", wallet.name);
  const data = payment.typedData(attempt.terms, attempt.authorized);
  try {
    const signature = await leaving.or(wallet.signTyped(attempt.authorized.from, data));
    return attempts.note(attempt, { signature });
  } catch (error) {
    attempts.close(attempt);
    throw error;
  }
}

async function checkBalance(wallet, terms, offer) {
  const owned = await wallet.balance(terms.asset);
  if (owned !== null && owned < BigInt(terms.amount)) {
    throw new Stopped(words.tooLittle(owned, offer));
  }
}

// Ends a wait when the wallet's user turns to another account, or gives up.
function leftBy(wallet, signal) {
  const over = new AbortController();
  const left = new Promise((_, reject) => {
    const leave = (text) => () => reject(new Stopped(text));
    wallet.addEventListener("account", leave(words.OTHER_ACCOUNT), { signal: over.signal });
    signal.addEventListener("abort", leave(words.CANCELLED), { signal: over.signal });
  });
  left.catch(() => {});
  return { or: (work) => Promise.race([work, left]), end: () => over.abort() };
}

export const randomKey = () =>
  btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))))
    .replaceAll("+", "-")
    .replaceAll("/", "_");
