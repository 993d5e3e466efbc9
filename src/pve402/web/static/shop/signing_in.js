// Signing in: the wallet signs a challenge, and the service gives a token for its leases.

import * as connecting from "./connecting.js";
import { element, say } from "./dom.js";
import { Stopped, messageOf } from "./problems.js";
import * as service from "./service.js";
import * as storage from "./storage.js";
import * as words from "./words.js";

const DAY_MS = 24 * 3600 * 1000;
const TIME = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ";
const FORM = new RegExp(
  "^(?<domain>\\S{1,255}) wants you to sign in with your Ethereum account:\n" +
    "(?<account>0x[0-9a-fA-F]{40})\n\n[ -~]{1,200}\n\nURI: (?<uri>\\S{1,500})\n" +
    "Version: 1\nChain ID: [1-9]\\d{0,11}\nNonce: (?<nonce>[0-9a-zA-Z]{8,128})\n" +
    `Issued At: ${TIME}\nExpiration Time: (?<expires>${TIME})$`,
);

// Offers to sign in, and goes on once that is done.
export function offer(then) {
  element("sign-in").hidden = false;
  element("sign-in-button").onclick = async () => {
    say("problem", "");
    element("sign-in-button").disabled = true;
    try {
      await signIn(await connecting.wallet());
      withdraw();
      then();
    } catch (error) {
      say("problem", messageOf(error), { isBad: true });
      element("problem").focus();
    } finally {
      element("sign-in-button").disabled = false;
    }
  };
}

export function withdraw() {
  element("sign-in").hidden = true;
}

export async function signOut() {
  const token = storage.walletToken();
  if (!token) return;
  await service.call("DELETE", "/auth/token", { token }).catch(() => {});
  storage.forgetToken(token);
}

async function signIn(wallet) {
  const address = wallet.account;
  const { message, nonce } = await service.call("POST", "/auth/challenge", { body: { address } });
  if (!isSignIn(message, nonce, address)) throw new Stopped(words.SIGN_IN_ELSEWHERE);
  const signature = await wallet.signText(address, message);
  const issued = await service.call("POST", "/auth/token", { body: { message, signature } });
  storage.keepWalletToken({ address, token: issued.accessToken, expiresAt: issued.expiresAt });
}

// Whether the text signs in here and does nothing else: with a signature under another service's
// challenge, this one could sign in there.
export function isSignIn(message, nonce, address) {
  const found = FORM.exec(message)?.groups;
  return (
    found !== undefined &&
    found.domain === location.host &&
    found.account.toLowerCase() === address.toLowerCase() &&
    `${found.uri}/`.startsWith(`${location.origin}/`) &&
    found.nonce === nonce &&
    Date.parse(found.expires) <= Date.now() + DAY_MS
  );
}
