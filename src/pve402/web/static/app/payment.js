// Pays for one request with the browser's wallet: x402 version 2, scheme exact, an EIP-3009
// authorization signed as EIP-712 data. While the outcome is unknown, the same signed payment is
// sent again; a second one is never signed.

const TRANSFER_TYPES = {
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
const TRIES = 20;
const PAUSE_SECONDS = 3;

export const wallet = () => globalThis.ethereum;

// Resolves to the service's answer. `amounts` are the displayed amounts by network; no other amount
// is signed. Throws an Error with a message for the user.
export async function pay(url, body, amounts) {
  const required = await askForTerms(url, body);
  const [from] = await wallet().request({ method: "eth_requestAccounts" });
  const terms = await chooseTerms(required.accepts);
  if (amounts.get(terms.network) !== terms.amount) {
    throw new Error("The price has changed; check it again.");
  }
  const authorization = authorize(terms, from);
  const signature = await wallet().request({
    method: "eth_signTypedData_v4",
    params: [from, JSON.stringify(typedData(terms, authorization))],
  });
  const payment = {
    x402Version: 2,
    resource: required.resource,
    accepted: terms,
    payload: { signature, authorization },
  };
  return deliver(url, body, toBase64(JSON.stringify(payment)));
}

async function askForTerms(url, body) {
  const answer = await post(url, body);
  const header = answer.headers.get("PAYMENT-REQUIRED");
  if (answer.status !== 402 || !header) throw new Error(await explain(answer));
  return JSON.parse(fromBase64(header));
}

// The terms for the wallet's current chain; otherwise the first, after asking the wallet to switch.
async function chooseTerms(accepts) {
  const exact = accepts.filter((terms) => terms.scheme === "exact");
  if (!exact.length) throw new Error("This wallet cannot pay here.");
  const chainId = await wallet().request({ method: "eth_chainId" });
  const own = exact.find((terms) => terms.network === `eip155:${Number(chainId)}`);
  if (own) return own;
  const wanted = `0x${chainOf(exact[0]).toString(16)}`;
  await wallet().request({ method: "wallet_switchEthereumChain", params: [{ chainId: wanted }] });
  return exact[0];
}

function authorize(terms, from) {
  const now = Math.floor(Date.now() / 1000);
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  return {
    from,
    to: terms.payTo,
    value: terms.amount,
    validAfter: String(now - CLOCK_SLACK_SECONDS),
    validBefore: String(now + terms.maxTimeoutSeconds),
    nonce: `0x${Array.from(nonce, (byte) => byte.toString(16).padStart(2, "0")).join("")}`,
  };
}

function typedData(terms, authorization) {
  return {
    types: TRANSFER_TYPES,
    primaryType: "TransferWithAuthorization",
    domain: {
      name: terms.extra.name,
      version: terms.extra.version,
      chainId: chainOf(terms),
      verifyingContract: terms.asset,
    },
    message: authorization,
  };
}

async function deliver(url, body, header) {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    let pause = PAUSE_SECONDS;
    try {
      const answer = await post(url, body, { "PAYMENT-SIGNATURE": header });
      if (answer.ok) return await answer.json();
      if (answer.status !== 503) throw new Refusal(await explain(answer));
      pause = Number(answer.headers.get("Retry-After")) || pause;
    } catch (error) {
      if (error instanceof Refusal) throw error; // anything else is a network error
    }
    await new Promise((resolve) => setTimeout(resolve, pause * 1000));
  }
  throw new Error("The outcome is still unknown. Do not pay again; check the lease later.");
}

class Refusal extends Error {}

function post(url, body, headers = {}) {
  return fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
  });
}

export async function explain(answer) {
  try {
    return (await answer.json()).detail || `The service answered ${answer.status}.`;
  } catch {
    return `The service answered ${answer.status}.`;
  }
}

const chainOf = (terms) => Number(terms.network.split(":")[1]);
const fromBase64 = (text) =>
  new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
const toBase64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
