// The one wallet that the page uses: chosen by its user, and remembered for the next page.

import { make, say } from "./dom.js";
import { Stopped, messageOf } from "./problems.js";
import * as storage from "./storage.js";
import * as words from "./words.js";
import { Wallet, offered } from "./wallet.js";

const ANNOUNCED_WITHIN_MS = 100;

let current = null;
let whenChanged = () => {};

export const account = () => current?.account ?? "";

// Shows the wallet in a button, and takes up the last one without asking its user.
export async function start(button, onChange = () => {}) {
  whenChanged = () => {
    show(button);
    onChange();
  };
  button.onclick = () => choose().catch((error) => say("notice", messageOf(error)));
  show(button);
  await new Promise((resolve) => setTimeout(resolve, ANNOUNCED_WITHIN_MS));
  const last = offered().find((one) => one.id === storage.lastWallet());
  if (last && !current) await use(last, { isQuiet: true }).catch(() => {});
}

// The connected wallet; asks for one if there is none. Throws Stopped.
export async function wallet() {
  if (!current?.account) await choose();
  return current;
}

async function choose() {
  const found = offered();
  if (!found.length) throw new Stopped(words.NO_WALLET);
  await use(found.length === 1 ? found[0] : await picked(found), { isQuiet: false });
}

async function use(chosen, how) {
  const made = new Wallet(chosen);
  try {
    await made.connect(how);
  } catch (error) {
    made.leave();
    throw error;
  }
  current?.leave();
  current = made;
  current.addEventListener("account", () => whenChanged());
  if (current.account) storage.rememberWallet(current.id);
  whenChanged();
}

function picked(found) {
  return new Promise((resolve, reject) => {
    const dialog = make("dialog", { ariaLabel: words.CHOOSE_WALLET });
    const end = (settle) => {
      dialog.remove();
      settle();
    };
    dialog.addEventListener("close", () => end(() => reject(new Stopped(words.NO_WALLET_CHOSEN))));
    const choices = found.map((one) => {
      const icon = one.icon ? [make("img", { src: one.icon, alt: "", width: 28, height: 28 })] : [];
      const onclick = () => end(() => resolve(one));
      return make("li", {}, make("button", { type: "button", onclick }, ...icon, one.name));
    });
    dialog.append(
      make("h2", {}, words.CHOOSE_WALLET),
      make("ul", { className: "wallets" }, ...choices),
      make("button", { type: "button", onclick: () => dialog.close() }, words.CANCEL),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

function show(button) {
  button.textContent = account() ? words.shortAddress(account()) : words.CONNECT;
  button.title = account() ? `${current.name}: ${account()}` : "";
}
