// The form of a new container: what is on sale, its price while one chooses, and buying it.

import { randomKey } from "./checkout.js";
import * as connecting from "./connecting.js";
import { element, fill, say } from "./dom.js";
import { inUnits, leaseUnits, priced } from "./money.js";
import { messageOf } from "./problems.js";
import { purchase } from "./purchase.js";
import { Range } from "./ranges.js";
import * as service from "./service.js";
import * as words from "./words.js";

const USUAL = { cores: 1, memory: 512, disk: 8, minutes: 60 };
const BOUNDS = { cores: "cores", memory: "memoryMB", disk: "diskGB", minutes: "runtimeMinutes" };
const TYPING_PAUSE_MS = 350;

export class Order {
  // `bought(lease, words)` hears of what was bought.
  constructor(bought) {
    this.bought = bought;
    this.catalogue = null;
    this.quoted = null;
    this.asking = 0;
    this.isBusy = false;
    this.ranges = Object.keys(USUAL).map((kind) => new Range(kind, () => this.changed()));
    element("sku").onchange = () => this.showSku();
    for (const id of ["network", "hostname", "ssh-key", "template"]) {
      element(id).oninput = () => this.changed();
    }
    element("order").onsubmit = (event) => {
      event.preventDefault();
      this.pay();
    };
  }

  async load() {
    this.catalogue = await service.call("GET", "/catalogue");
    const { skus, networks } = this.catalogue;
    if (!skus.length || !networks.length) return say("order-problem", words.NOTHING_ON_SALE);
    fill("sku", skus.map((sku) => [sku.sku, words.skuOf(sku)]));
    fill("network", networks.map((one) => [one.networkId, words.networkOf(one)]));
    this.showSku();
  }

  get sku() {
    return this.catalogue.skus.find((sku) => sku.sku === element("sku").value);
  }

  get network() {
    return this.catalogue.networks.find((one) => one.networkId === element("network").value);
  }

  get size() {
    const [cores, memoryMB, diskGB, minutes] = this.ranges.map((range) => range.value);
    return { cores, memoryMB, diskGB, minutes };
  }

  showSku() {
    for (const range of this.ranges) range.bound(this.sku[BOUNDS[range.kind]], USUAL[range.kind]);
    const templates = this.sku.templates.map((name) => [name, name]);
    fill("template", templates.length ? templates : [["", words.USUAL_TEMPLATE]]);
    this.changed();
  }

  // The price follows at once; the service is asked once the hand rests.
  changed() {
    if (!this.catalogue) return;
    const number = ++this.asking;
    this.quoted = null;
    this.showButton();
    if (!this.isValid()) return this.showPrice(null);
    this.showPrice(leaseUnits(this.sku, this.size, this.network.decimals));
    setTimeout(() => number === this.asking && this.ask(number), TYPING_PAUSE_MS);
  }

  isValid() {
    return this.ranges.every((range) => range.field.checkValidity());
  }

  showPrice(units) {
    const { decimals, symbol } = this.network;
    const size = { ...this.size, minutes: 60 };
    element("price").textContent = units === null ? "–" : `${inUnits(units, decimals)} ${symbol}`;
    if (units === null) return say("rate", words.SIZE_WRONG);
    const hourly = inUnits(leaseUnits(this.sku, size, decimals, { withBase: false }), decimals);
    const base = Number(this.sku.baseUsd) ? words.once(this.sku.baseUsd, symbol) : "";
    say("rate", words.anHour(hourly, symbol) + base);
  }

  async ask(number) {
    let quote;
    try {
      const { password, ...known } = this.body();
      quote = await service.call("POST", "/lease/quote", { body: known });
    } catch (error) {
      if (number === this.asking) say("order-problem", messageOf(error), { isBad: true });
      return;
    }
    if (number !== this.asking) return;
    this.quoted = quote;
    const offer = this.offer();
    element("price").textContent = priced(offer);
    element("spoken").textContent = words.priceSpoken(priced(offer), words.duration(this.size.minutes));
    say("order-problem", quote.available === false ? words.NO_ROOM : "", { isBad: true });
    this.showButton();
  }

  offer() {
    return this.quoted.accepts.find((one) => one.networkId === this.network.networkId);
  }

  showButton() {
    element("pay").textContent = connecting.account() ? words.PAY : words.CONNECT_AND_PAY;
    element("pay").disabled = this.isBusy || !this.quoted || this.quoted.available === false;
  }

  // Without a key, root gets a password that nobody knows: the terminal in the browser needs none.
  body() {
    const { minutes, ...size } = this.size;
    const [hostname, key, template] = ["hostname", "ssh-key", "template"].map((id) =>
      element(id).value.trim(),
    );
    return {
      ...{ sku: this.sku.sku, runtimeMinutes: minutes, ...size },
      ...(hostname && { hostname }),
      ...(template && { template }),
      ...(key ? { sshPublicKeys: key.split("\n").filter(Boolean) } : { password: randomKey() }),
    };
  }

  async pay() {
    if (this.isBusy || !this.quoted || !element("order").reportValidity()) return;
    const [body, offer, network] = [this.body(), this.offer(), this.network];
    const what = words.leaseFor(this.sku.sku, this.size);
    const wish = { path: "/lease/container", body, offer, network, what };
    await purchase(wish, { busy: (isBusy) => this.setBusy(isBusy), done: this.bought });
    this.changed();
  }

  setBusy(isBusy) {
    this.isBusy = isBusy;
    if (this.catalogue) this.showButton();
  }
}
