// What was paid from this browser.

import { element, facts, make, say } from "./dom.js";
import { inUnits } from "./money.js";
import * as storage from "./storage.js";
import * as words from "./words.js";

export function showReceipts() {
  const kept = storage.receipts();
  element("receipt-list").replaceChildren(...kept.map(item));
  say("no-receipts", kept.length ? "" : words.NO_RECEIPTS);
}

function item(receipt) {
  const { network } = receipt;
  const lease = make("a", { href: `#lease/${receipt.leaseId}` }, receipt.leaseId);
  const amount = `${inUnits(receipt.amount, network.decimals)} ${network.symbol}`;
  const rows = [
    [words.ROW_PAID, words.onNetwork(amount, network.name)],
    [words.ROW_TO, make("code", {}, receipt.payTo)],
    [words.LEASE, lease],
    receipt.transaction && [words.TRANSACTION, transaction(receipt)],
  ];
  return make("li", { className: "card" }, make("h2", {}, words.receiptFor(receipt)), facts(rows));
}

function transaction({ transaction: hash, network }) {
  if (!/^https:\/\//.test(network.explorerUrl)) return make("code", {}, hash);
  const href = `${network.explorerUrl}/tx/${hash}`;
  return make("a", { href, target: "_blank", rel: "noopener noreferrer" }, make("code", {}, hash));
}
