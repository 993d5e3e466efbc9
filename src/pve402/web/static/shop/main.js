// The shop: its views, which the part of the address after the `#` chooses.

import * as connecting from "./connecting.js";
import { element, say } from "./dom.js";
import { LeaseView } from "./lease.js";
import { Leases } from "./leases.js";
import { Order } from "./order.js";
import { messageOf } from "./problems.js";
import { takeUp } from "./purchase.js";
import { showReceipts } from "./receipts.js";

const LEASE = /^lease\/(l[0-9a-z]{25})$/;
const title = document.title;

const order = new Order(bought);
const leases = new Leases();
const lease = new LeaseView();
let carried = ""; // to say in the next view

function bought(made, told) {
  carried = told;
  location.hash = `lease/${made.leaseId}`;
}

// Shows what the address names. Focus goes to the heading, so that readers begin there.
function show({ isFirst = false } = {}) {
  const place = location.hash.slice(1);
  const named = LEASE.exec(place)?.[1];
  const view = named ? "lease" : ["leases", "receipts"].includes(place) ? place : "rent";
  for (const section of document.querySelectorAll("main > section")) {
    section.hidden = section.id !== view;
  }
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  lease.leave();
  if (view === "lease") lease.show(named);
  if (view === "leases") leases.show();
  if (view === "receipts") showReceipts();
  const heading = element(view).querySelector("h1");
  document.title = view === "rent" ? title : `${heading.textContent} – ${location.host}`;
  if (isFirst) return;
  say("notice", carried);
  say("problem", "");
  carried = "";
  heading.focus();
}

async function open() {
  show({ isFirst: true });
  addEventListener("hashchange", () => show());
  await Promise.all([
    order.load().catch((error) => say("order-problem", messageOf(error), { isBad: true })),
    connecting.start(element("wallet"), () => order.changed()),
  ]);
  await takeUp({ busy: (isBusy) => order.setBusy(isBusy), done: bought });
}

open();
