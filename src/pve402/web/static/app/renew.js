// The renewal page: shows the price of more minutes and pays it with the browser's wallet.

import { explain, pay, wallet } from "./payment.js";

const TYPING_PAUSE_MS = 250;

const element = (id) => document.getElementById(id);
const lease = /^#(l[0-9a-z]{25})$/.exec(location.hash)?.[1];
let amounts = new Map();
let asking = 0;

element("lease").textContent = lease ?? "unknown";
element("form").onsubmit = (event) => event.preventDefault();
element("minutes").oninput = () => {
  const number = ++asking;
  element("pay").disabled = true;
  setTimeout(() => number === asking && showPrice(number), TYPING_PAUSE_MS);
};
element("pay").onclick = () => payNow();
if (lease) showPrice(asking);
else element("price").textContent = "Open this page from a console.";

async function showPrice(number) {
  const minutes = Number(element("minutes").value);
  const isGood = element("minutes").checkValidity();
  showCommand(isGood ? minutes : "MINUTES", "USD");
  if (!isGood) return say("price", "Enter a whole number of minutes, 1 or more.", true);
  const answer = await fetch("/lease/quote", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ctid: lease, runtimeMinutes: minutes }),
    credentials: "omit",
  });
  if (number !== asking) return;
  if (!answer.ok) return say("price", await explain(answer), true);
  const quote = await answer.json();
  amounts = new Map(quote.accepts.map((offer) => [offer.networkId, offer.amount]));
  const offers = quote.accepts.map((offer) => `${inUnits(offer)} on ${offer.network}`);
  say("price", offers.join(", or "));
  showCommand(minutes, inUnits(quote.accepts[0]).split(" ")[0]);
  element("pay").disabled = !wallet();
  if (!wallet()) element("pay").textContent = "No wallet in this browser";
}

async function payNow() {
  const minutes = Number(element("minutes").value);
  element("pay").disabled = true;
  say("outcome", "Waiting for your wallet and the payment.");
  try {
    const renewed = await pay(`/lease/${lease}/renew`, { runtimeMinutes: minutes }, amounts);
    const until = new Date(renewed.expiresAt).toLocaleString();
    say("outcome", `Paid. The lease lasts until ${until}.`);
  } catch (error) {
    say("outcome", error.message || "Your wallet refused.", true);
  }
  element("pay").disabled = false;
}

function showCommand(minutes, most) {
  element("command").textContent =
    `PVE402_URL=${location.origin} pve402 renew ${lease} --minutes ${minutes} --max-usd ${most}`;
}

function say(id, text, isBad = false) {
  element(id).textContent = text;
  element(id).classList.toggle("bad", isBad);
}

function inUnits(offer) {
  const digits = offer.amount.padStart(offer.decimals + 1, "0");
  const whole = digits.slice(0, -offer.decimals);
  const part = digits.slice(-offer.decimals).replace(/0+$/, "");
  return `${whole}${part ? `.${part}` : ""} ${offer.symbol}`;
}
