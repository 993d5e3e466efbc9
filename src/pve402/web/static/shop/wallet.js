// Wallets in this browser: found by EIP-6963, called by EIP-1193. A wallet keeps the keys and asks
// its user; a page gets addresses and signatures, and what a wallet says is checked like any input.

import { Stopped } from "./problems.js";
import * as words from "./words.js";

const REJECTED = 4001;
const UNAUTHORIZED = 4100;
const UNKNOWN_CHAIN = 4902;
const ALREADY_ASKING = -32002;
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const SIGNATURE = /^0x([0-9a-fA-F]{2}){65,4096}$/;
const BALANCE_OF = "0x70a08231";
const MOST_WALLETS = 16;

const announced = new Map();

addEventListener("eip6963:announceProvider", (event) => {
  const { info, provider } = event.detail ?? {};
  if (typeof provider?.request !== "function" || announced.size >= MOST_WALLETS) return;
  const id = String(info?.rdns ?? "").slice(0, 100);
  announced.set(String(info?.uuid), {
    id,
    name: String(info?.name ?? id).slice(0, 40),
    icon: String(info?.icon).startsWith("data:image/") ? info.icon : "",
    provider,
  });
});
dispatchEvent(new Event("eip6963:requestProvider"));

// The wallets that announced themselves, or else the one that older wallets put into the page.
export function offered() {
  if (announced.size || !globalThis.ethereum?.request) return [...announced.values()];
  return [{ id: "injected", name: words.NAMELESS_WALLET, icon: "", provider: globalThis.ethereum }];
}

// Fires `account` when its user chooses another account, or none.
export class Wallet extends EventTarget {
  constructor({ id, name, provider }) {
    super();
    this.id = id;
    this.name = name;
    this.account = "";
    this.provider = provider;
    this.listener = (accounts) => this.became(accounts);
    provider.on?.("accountsChanged", this.listener);
  }

  // Asks its user for an account, or with `isQuiet` takes one that is already allowed.
  async connect({ isQuiet = false } = {}) {
    this.became(await this.ask(isQuiet ? "eth_accounts" : "eth_requestAccounts"));
    if (!this.account && !isQuiet) throw new Stopped(words.NO_ACCOUNT);
  }

  leave() {
    this.provider.removeListener?.("accountsChanged", this.listener);
  }

  became(accounts) {
    const [first] = Array.isArray(accounts) ? accounts : [];
    const account = ADDRESS.test(first) ? first : "";
    if (account === this.account) return;
    this.account = account;
    this.dispatchEvent(new Event("account"));
  }

  // Whether an account is still the one that signs; a wallet may not have told of a change.
  async isStill(account) {
    this.became(await this.ask("eth_accounts"));
    return this.account.toLowerCase() === account.toLowerCase();
  }

  // Brings the wallet to a chain, and teaches it the chain first if it does not know it.
  async useChain(network) {
    const chainId = `0x${chainOf(network.networkId).toString(16)}`;
    if (await this.isOn(chainId)) return;
    try {
      await this.provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
    } catch (error) {
      if (codeOf(error) !== UNKNOWN_CHAIN || !network.rpcUrl) throw inWords(error);
      await this.ask("wallet_addEthereumChain", chainFacts(chainId, network));
      if (!(await this.isOn(chainId))) await this.ask("wallet_switchEthereumChain", { chainId });
    }
    if (!(await this.isOn(chainId))) throw new Stopped(words.otherChain(network));
  }

  async isOn(chainId) {
    return Number(await this.ask("eth_chainId")) === Number(chainId);
  }

  // What the account owns of the asset, in atomic units; null if the wallet cannot say.
  async balance(asset) {
    const data = BALANCE_OF + this.account.slice(2).toLowerCase().padStart(64, "0");
    try {
      const call = { to: asset, data };
      const told = await this.provider.request({ method: "eth_call", params: [call, "latest"] });
      return BigInt(told);
    } catch {
      return null;
    }
  }

  async signTyped(account, data) {
    return signature(await this.ask("eth_signTypedData_v4", account, JSON.stringify(data)));
  }

  async signText(account, text) {
    const bytes = new TextEncoder().encode(text);
    return signature(await this.ask("personal_sign", `0x${inHex(bytes)}`, account));
  }

  // Throws Stopped with words for the wallet's user.
  async ask(method, ...params) {
    try {
      return await this.provider.request(params.length ? { method, params } : { method });
    } catch (error) {
      throw inWords(error);
    }
  }
}

export const chainOf = (networkId) => Number(networkId.split(":")[1]);
export const inHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function chainFacts(chainId, network) {
  return {
    chainId,
    chainName: network.title,
    nativeCurrency: { name: network.currency, symbol: network.currency, decimals: 18 },
    rpcUrls: [network.rpcUrl],
    blockExplorerUrls: network.explorerUrl ? [network.explorerUrl] : [],
  };
}

function signature(text) {
  if (!SIGNATURE.test(text)) throw new Stopped(words.BAD_SIGNATURE);
  return text;
}

// Some wallets wrap the error of the chain in one of their own.
const codeOf = (error) => error?.data?.originalError?.code ?? error?.code;

function inWords(error) {
  const told = {
    [REJECTED]: words.DECLINED,
    [UNAUTHORIZED]: words.NOT_ALLOWED,
    [ALREADY_ASKING]: words.ALREADY_ASKING,
    [UNKNOWN_CHAIN]: words.UNKNOWN_CHAIN,
  }[codeOf(error)];
  const said = String(error?.message ?? "").slice(0, 200);
  return new Stopped(told ?? words.walletFailed(said));
}
