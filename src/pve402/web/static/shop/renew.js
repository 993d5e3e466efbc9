// The page of a renewal: what more minutes cost, and paying them.

import * as connecting from "./connecting.js";
import { element, fill, say } from "./dom.js";
import { priced } from "./money.js";
import { messageOf } from "./problems.js";
import { purchase, takeUp } from "./purchase.js";
import * as service from "./service.js";
import * as words from "./words.js";

const TYPING_PAUSE_MS = 250;

const lease = /^#(l[0-9a-z]{25})$/.exec(location.hash)?.[1];
let networks = [];
let quoted = null;
let asking = 0;
let isBusy = false;

element("lease").textContent = lease ?? words.NO_LEASE_NAMED;
element("order").onsubmit = (event) => {
  event.preventDefault();
  if (quoted && !isBusy) pay();
};
element("minutes").oninput = () => changed();
element("network").onchange = () => showPrice();
open();

async function open() {
  if (!lease) return say("problem", words.OPEN_FROM_CONSOLE, { isBad: true });
  await Promise.all([
    connecting.start(element("wallet"), () => showButton()),
    service.call("GET", "/catalogue").then((catalogue) => (networks = catalogue.networks)),
  ]).catch((error) => say("problem", messageOf(error), { isBad: true }));
  changed();
  await takeUp({ busy, done });
}

function changed() {
  const number = ++asking;
  quoted = null;
  showButton();
  setTimeout(() => number === asking && ask(number), TYPING_PAUSE_MS);
}

async function ask(number) {
  const minutes = element("minutes");
  if (!minutes.checkValidity()) return say("price", words.MINUTES_WRONG, { isBad: true });
  const body = { ctid: lease, runtimeMinutes: Number(minutes.value) };
  try {
    const quote = await service.call("POST", "/lease/quote", { body });
    if (number !== asking) return;
    quoted = quote;
    showPrice();
  } catch (error) {
    if (number === asking) say("price", messageOf(error), { isBad: true });
  }
}

function showPrice() {
  const choices = quoted.accepts.map((one) => [one.networkId, words.networkOf(facts(one))]);
  fill("network", choices);
  const chosen = offer();
  say("price", `${priced(chosen)} on ${chosen.network}`);
  element("command").textContent = words.renewCommand(location.origin, lease, quoted.runtimeMinutes, chosen);
  showButton();
}

const offer = () => quoted.accepts.find((one) => one.networkId === element("network").value);
const facts = (one) => networks.find((known) => known.networkId === one.networkId) ?? one;

function pay() {
  const minutes = quoted.runtimeMinutes;
  const wish = {
    path: `/lease/${lease}/renew`,
    body: { runtimeMinutes: minutes },
    offer: offer(),
    network: facts(offer()),
    what: words.renewalFor(lease, minutes),
    ofLease: lease,
  };
  say("outcome", "");
  return purchase(wish, { busy, done });
}

function done(_renewed, told) {
  say("outcome", told);
  changed();
}

function busy(is) {
  isBusy = is;
  showButton();
}

function showButton() {
  element("pay").textContent = connecting.account() ? words.PAY : words.CONNECT_AND_PAY;
  element("pay").disabled = isBusy || !quoted;
}
