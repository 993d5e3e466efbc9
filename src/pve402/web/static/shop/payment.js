// A payment by x402 version 2, scheme exact: an EIP-3009 authorization, signed as EIP-712 data.
// The figures come from the service, so each is checked before a wallet is asked to sign it.

import { Refusal, Stopped } from "./problems.js";
import * as service from "./service.js";
import { chainOf, inHex } from "./wallet.js";
import * as words from "./words.js";

const TYPES = {
  EIP712Domain: [
    { name: "name", type: "string" },
    { name: "version", type: "string" },
    { name: "chainId", type: "uint256" },
    { name: "verifyingContract", type: "address" },
  ],
  TransferWithAuthorization: [
    { name: "from", type: "address" },
    { name: "to", type: "address" },
    { name: "value", type: "uint256" },
    { name: "validAfter", type: "uint256" },
    { name: "validBefore", type: "uint256" },
    { name: "nonce", type: "bytes32" },
  ],
};
const CLOCK_SLACK_SECONDS = 600;
const LONGEST_SECONDS = 3600;
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const AMOUNT = /^[1-9]\d{0,29}$/;

// Asks what a request costs. Resolves to the terms, and to how far this clock is behind the service's.
export async function askTerms(path, body, token) {
  const answer = await service.send("POST", path, { body, token }).catch(() => {
    throw new Refusal(0, "unreachable", words.UNREACHABLE);
  });
  const header = answer.headers.get("PAYMENT-REQUIRED");
  if (answer.status !== 402 || !header) throw await service.refusalOf(answer);
  const { resource, accepts } = JSON.parse(fromBase64(header));
  const aheadMs = Date.parse(answer.headers.get("Date")) - Date.now() || 0;
  return { resource, accepts, aheadSeconds: Math.round(aheadMs / 1000) };
}

// The terms on one network, if they ask for exactly what the page shows.
export function chosen(required, offer) {
  const terms = required.accepts.find(
    (one) => one.scheme === "exact" && one.network === offer.networkId,
  );
  if (!terms) throw new Stopped(words.notOffered(offer.network));
  if (!isWhole(terms)) throw new Stopped(words.BAD_TERMS);
  if (terms.amount !== String(offer.amount)) throw new Stopped(words.PRICE_CHANGED);
  const isShown = (one, other) => one.toLowerCase() === other.toLowerCase();
  if (!isShown(terms.asset, offer.asset) || !isShown(terms.payTo, offer.payTo)) {
    throw new Stopped(words.BAD_TERMS);
  }
  return terms;
}

function isWhole(terms) {
  return (
    AMOUNT.test(terms.amount) &&
    ADDRESS.test(terms.asset) &&
    ADDRESS.test(terms.payTo) &&
    typeof terms.extra?.name === "string" &&
    typeof terms.extra?.version === "string" &&
    terms.maxTimeoutSeconds > 0 &&
    terms.maxTimeoutSeconds <= LONGEST_SECONDS
  );
}

export function authorization(terms, from, aheadSeconds) {
  const now = Math.floor(Date.now() / 1000) + aheadSeconds;
  return {
    from,
    to: terms.payTo,
    value: terms.amount,
    validAfter: String(now - CLOCK_SLACK_SECONDS),
    validBefore: String(now + terms.maxTimeoutSeconds),
    nonce: `0x${inHex(crypto.getRandomValues(new Uint8Array(32)))}`,
  };
}

export function typedData(terms, authorized) {
  return {
    types: TYPES,
    primaryType: "TransferWithAuthorization",
    domain: {
      name: terms.extra.name,
      version: terms.extra.version,
      chainId: chainOf(terms.network),
      verifyingContract: terms.asset,
    },
    message: authorized,
  };
}

// The value of PAYMENT-SIGNATURE.
export function header({ resource, terms, authorized, signature }) {
  const payload = { signature, authorization: authorized };
  return toBase64(JSON.stringify({ x402Version: 2, resource, accepted: terms, payload }));
}

// The hash of the transfer, out of PAYMENT-RESPONSE; empty without a receipt.
export function transactionIn(answer) {
  try {
    const receipt = JSON.parse(fromBase64(answer.headers.get("PAYMENT-RESPONSE")));
    return /^0x[0-9a-f]{64}$/i.test(receipt.transaction) ? receipt.transaction : "";
  } catch {
    return "";
  }
}

const fromBase64 = (text) =>
  new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
const toBase64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
