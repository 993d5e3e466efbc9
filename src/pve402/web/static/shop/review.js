// The dialog that says in words what the wallet is about to sign.

import { facts, make } from "./dom.js";
import { priced } from "./money.js";
import * as words from "./words.js";

export class Review {
  dialog = null;

  // Resolves to whether its user goes on to the wallet.
  ask({ wish, terms, authorized, wallet }) {
    return new Promise((resolve) => {
      const yes = make("button", { type: "button", className: "main" }, words.signWith(wallet.name));
      const no = make("button", { type: "button" }, words.CANCEL);
      this.dialog = make(
        "dialog",
        { className: "review", ariaLabel: words.REVIEW_TITLE },
        make("h2", { tabIndex: -1, autofocus: true }, words.REVIEW_TITLE),
        make("p", {}, words.reviewIntroduction(wallet.name)),
        facts(rows(wish, terms, authorized)),
        make("p", { className: "faint" }, words.REVIEW_PROMISE),
        make("div", { className: "buttons" }, yes, no),
      );
      yes.onclick = () => {
        this.close();
        resolve(true);
      };
      no.onclick = () => {
        this.close();
        resolve(false);
      };
      this.dialog.addEventListener("cancel", () => resolve(false));
      document.body.append(this.dialog);
      this.dialog.showModal();
    });
  }

  close() {
    this.dialog?.close();
    this.dialog?.remove();
    this.dialog = null;
  }
}

function rows(wish, terms, authorized) {
  const until = new Date(Number(authorized.validBefore) * 1000);
  const code = (text) => make("code", {}, text);
  return [
    [words.ROW_AMOUNT, make("strong", {}, priced(wish.offer)), words.asValue(terms.amount)],
    [words.ROW_FOR, wish.what],
    [words.ROW_TO, code(terms.payTo), words.ofOperator(location.host)],
    [words.ROW_FROM, code(authorized.from)],
    [words.ROW_NETWORK, words.chain(wish.network)],
    [words.ROW_UNTIL, words.validUntil(until)],
  ];
}
