// Makes paid calls with one of the official JavaScript clients, and prints one JSON line for each.
//
// usage: node pay.mjs CLIENT URL < CALLS     (CALLS: a JSON list of [method, path, body])
//   CLIENT is @x402/fetch, @x402/axios, x402-fetch or x402-axios, or for wallets that sign in:
//   @x402/extensions (it never pays) or @x402/fetch+extensions (it signs in first, then pays)
// The wallet's key stands in WALLET_KEY; if it signs for a contract wallet, that one's address stands in
// WALLET_ADDRESS. The clients are as they come: no cap is raised.

import { buffer } from "node:stream/consumers";
import axios from "axios";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

const [name, base] = process.argv.slice(2);
const signer = privateKeyToAccount(process.env.WALLET_KEY);
const account = { ...signer, address: process.env.WALLET_ADDRESS ?? signer.address };

async function schemes() {
  const { ExactEvmScheme } = await import("@x402/evm");
  return { schemes: [{ network: "eip155:*", client: new ExactEvmScheme(account) }] };
}

function walletOfVersion1() {
  return createWalletClient({ account, chain: baseSepolia, transport: http("http://127.0.0.1:9") });
}

const makers = {
  "@x402/fetch": async () => {
    const { wrapFetchWithPaymentFromConfig } = await import("@x402/fetch");
    return byFetch(wrapFetchWithPaymentFromConfig(fetch, await schemes()));
  },
  "@x402/axios": async () => {
    const { wrapAxiosWithPaymentFromConfig } = await import("@x402/axios");
    return byAxios(wrapAxiosWithPaymentFromConfig(axios.create(), await schemes()));
  },
  "@x402/extensions": async () => {
    const { wrapFetchWithSIWx } = await import("@x402/extensions/sign-in-with-x");
    return byFetch(wrapFetchWithSIWx(fetch, signer));
  },
  "@x402/fetch+extensions": async () => {
    const { wrapFetchWithPayment, x402Client, x402HTTPClient } = await import("@x402/fetch");
    const { createSIWxClientExtension } = await import("@x402/extensions/sign-in-with-x");
    const client = new x402Client();
    for (const { network, client: scheme } of (await schemes()).schemes) client.register(network, scheme);
    client.registerExtension(createSIWxClientExtension({ signers: [signer] }));
    return byFetch(wrapFetchWithPayment(fetch, new x402HTTPClient(client)));
  },
  "x402-fetch": async () => {
    const { wrapFetchWithPayment } = await import("x402-fetch");
    return byFetch(wrapFetchWithPayment(fetch, walletOfVersion1()));
  },
  "x402-axios": async () => {
    const { withPaymentInterceptor } = await import("x402-axios");
    return byAxios(withPaymentInterceptor(axios.create(), walletOfVersion1()));
  },
};

function byFetch(pay) {
  return async (method, url, body) => {
    const headers = { "Content-Type": "application/json" };
    const init = body === null ? { method } : { method, headers, body: JSON.stringify(body) };
    const reply = await pay(url, init);
    return [reply.status, await reply.json(), (header) => reply.headers.get(header)];
  };
}

function byAxios(client) {
  return async (method, url, body) => {
    const reply = await client
      .request({ method, url, ...(body === null ? {} : { data: body }) })
      .catch((error) => error.response ?? Promise.reject(error));
    return [reply.status, reply.data, (header) => reply.headers[header.toLowerCase()]];
  };
}

const call = await makers[name]();
let ctid = "";
for (const [method, path, body] of JSON.parse(await buffer(process.stdin))) {
  const [status, answer, header] = await call(method, base + path.replace("{ctid}", ctid), body);
  ctid = answer.ctid ?? ctid;
  const receipt = header("PAYMENT-RESPONSE") ?? header("X-PAYMENT-RESPONSE");
  const decoded = receipt ? JSON.parse(Buffer.from(receipt, "base64")) : null;
  console.log(JSON.stringify({ status, answer, receipt: decoded }));
}
