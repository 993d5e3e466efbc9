// The leases of the wallet that signed in, and what it is owed.

import { element, make, say } from "./dom.js";
import { messageOf } from "./problems.js";
import * as service from "./service.js";
import * as signingIn from "./signing_in.js";
import * as storage from "./storage.js";
import * as words from "./words.js";

const OVER = new Set(["ended", "failed"]);

export class Leases {
  constructor() {
    element("all-leases").onchange = () => this.show();
    element("sign-out").onclick = async () => {
      await signingIn.signOut();
      this.show();
    };
  }

  async show() {
    const token = storage.walletToken();
    for (const id of ["lease-list", "owed-list"]) element(id).replaceChildren();
    element("signed-in").hidden = !token;
    if (!token) return signingIn.offer(() => this.show());
    say("signed-in-as", words.signedIn(storage.signedInAs()));
    const all = element("all-leases").checked;
    try {
      const found = await service.call("GET", `/management/list${all ? "?all=true" : ""}`, { token });
      element("lease-list").replaceChildren(...found.reverse().map(item));
      say("no-leases", found.length ? "" : words.NO_LEASES);
      const owed = await service.call("GET", "/owed", { token });
      element("owed-list").replaceChildren(...owed.map(owedItem));
    } catch (error) {
      if (error.status === 401) return this.show();
      say("problem", messageOf(error), { isBad: true });
    }
  }
}

function item(lease) {
  const name = make("a", { href: `#lease/${lease.leaseId}` }, lease.hostname);
  const isOver = OVER.has(lease.status);
  const end = isOver ? lease.endedAt : lease.expiresAt;
  return make(
    "li",
    { className: isOver ? "card over" : "card" },
    make("h2", {}, name),
    make("p", {}, words.statusOf(lease)),
    make("p", { className: "faint" }, words.sizeOf(lease)),
    make("p", { className: "faint" }, end ? words.lasts(isOver, end) : ""),
  );
}

function owedItem({ owedId, usd, network }) {
  const how = owedId ? make("code", {}, words.redeemCommand(location.origin, owedId)) : words.DELIVERING;
  return make(
    "li",
    { className: "card" },
    make("h2", {}, words.owed(usd, network)),
    make("p", {}, words.OWED),
    make("p", {}, how),
  );
}
