// What the pages keep in the browser. Tokens last as long as the tab; the rest stays.

const RECEIPTS = "pve402.receipts";
const WALLET = "pve402.wallet";
const TOKENS = "pve402.tokens";
const MOST_RECEIPTS = 200;

export function read(place, key, fallback) {
  try {
    return JSON.parse(place.getItem(key)) ?? fallback;
  } catch {
    return fallback; // no storage, or not our words in it
  }
}

export const receipts = () => {
  const kept = read(localStorage, RECEIPTS, []);
  return Array.isArray(kept) ? kept : [];
};

export function keepReceipt(receipt) {
  const others = receipts().filter((kept) => kept.id !== receipt.id);
  write(localStorage, RECEIPTS, [receipt, ...others].slice(0, MOST_RECEIPTS));
}

export const lastWallet = () => read(localStorage, WALLET, "");
export const rememberWallet = (id) => write(localStorage, WALLET, id);

// The token that opens a lease: its own, or that of the wallet which signed in.
export const tokenOf = (leaseId) => tokens().leases[leaseId] ?? walletToken();

export function walletToken() {
  const { wallet } = tokens();
  return wallet && Date.parse(wallet.expiresAt) > Date.now() ? wallet.token : "";
}

export const signedInAs = () => (walletToken() ? tokens().wallet.address : "");

export function keepToken(leaseId, token) {
  const kept = tokens();
  write(sessionStorage, TOKENS, { ...kept, leases: { ...kept.leases, [leaseId]: token } });
}

export const keepWalletToken = (wallet) => write(sessionStorage, TOKENS, { ...tokens(), wallet });

export function forgetToken(token) {
  const { wallet, leases } = tokens();
  const others = Object.entries(leases).filter(([, kept]) => kept !== token);
  const kept = wallet?.token === token ? null : wallet;
  write(sessionStorage, TOKENS, { wallet: kept, leases: Object.fromEntries(others) });
}

function tokens() {
  const kept = read(sessionStorage, TOKENS, {});
  return { wallet: kept.wallet ?? null, leases: kept.leases ?? {} };
}

function write(place, key, value) {
  try {
    place.setItem(key, JSON.stringify(value));
  } catch {
    // Without storage, this is forgotten with the page.
  }
}
