// A purchase as a page shows it: how far it is, giving it up, and what went wrong.

import * as attempts from "./attempts.js";
import { buy, resume } from "./checkout.js";
import * as connecting from "./connecting.js";
import { element, make, say } from "./dom.js";
import { messageOf } from "./problems.js";
import { Review } from "./review.js";
import * as words from "./words.js";

const STAGES = ["signing", "sent", "making"];

// Buys with the connected wallet. `done(lease, words)` gets what was bought.
export function purchase(wish, { busy, done }) {
  return followed(busy, done, async (told, signal) => {
    const review = new Review();
    const wallet = await connecting.wallet();
    try {
      return await buy(wish, wallet, { review: (payment) => review.ask(payment), told, signal });
    } finally {
      review.close();
    }
  });
}

// Takes up the payment that an earlier page left open, if there is one.
export async function takeUp({ busy, done }) {
  const attempt = attempts.open();
  if (!attempt) return;
  if (attempt.signature) say("notice", words.resuming(attempt.what));
  await followed(busy, done, (told) => resume(told));
}

async function followed(busy, done, work) {
  const giveUp = new AbortController();
  element("give-up").onclick = () => giveUp.abort();
  busy(true);
  say("problem", "");
  try {
    const lease = await work(show, giveUp.signal);
    say("notice", "");
    if (lease) done(lease, words.paid(lease));
  } catch (error) {
    say("problem", messageOf(error), { isBad: true });
    element("problem").focus();
  } finally {
    element("progress").hidden = true;
    busy(false);
  }
}

function show(stage, text) {
  element("progress").hidden = false;
  element("give-up").hidden = stage !== "signing";
  element("stage-text").textContent = words.stageText(stage, text);
  const at = STAGES.indexOf(stage);
  if (at >= 0) element("stages").replaceChildren(...STAGES.map((name, index) => item(name, index, at)));
}

function item(name, index, at) {
  const made = make("li", { className: index < at ? "over" : "" }, words.STAGES[name]);
  if (index === at) made.setAttribute("aria-current", "step");
  return made;
}
