// The published ports of a container.

import { NO_PORTS, described, portName } from "../app/ports.js";
import { element, make, say } from "./dom.js";
import { messageOf } from "./problems.js";
import * as service from "./service.js";
import { openTab } from "./tabs.js";
import * as words from "./words.js";

export class Ports {
  constructor(leaseId, token) {
    this.leaseId = leaseId;
    this.token = token;
    element("publish").onsubmit = (event) => {
      event.preventDefault();
      const body = { port: Number(element("port").value), access: element("access").value };
      this.act(async () => {
        await this.call("POST", "", body);
        this.render(await this.call("GET"));
      });
    };
  }

  list() {
    return this.act(async () => this.render(await this.call("GET")));
  }

  render({ ports }) {
    element("port-list").replaceChildren(...ports.map((port) => this.row(port)));
    say("ports-said", ports.length ? "" : NO_PORTS);
  }

  row(shown) {
    const { port, access, url } = shown;
    const open = make("button", { type: "button", ariaLabel: `${words.OPEN} ${portName(port)}` }, words.OPEN);
    open.onclick = () => this.act(() => openTab(() => this.link(port, access, url)));
    const withdraw = make(
      "button",
      { type: "button", ariaLabel: `${words.WITHDRAW} ${portName(port)}` },
      words.WITHDRAW,
    );
    withdraw.onclick = () =>
      this.act(async () => this.render(await this.call("DELETE", `?port=${port}`)));
    return make("li", {}, described(shown), open, withdraw);
  }

  // A private port needs a login first, whose link works once.
  async link(port, access, url) {
    if (access === "public") return url;
    return (await this.call("POST", "/login", { port })).url;
  }

  call(method, more = "", body = undefined) {
    return service.call(method, `/management/ports/${this.leaseId}${more}`, { body, token: this.token });
  }

  async act(work) {
    try {
      await work();
    } catch (error) {
      element("publish").hidden = error.code === "ports_off";
      const text = error.code === "ports_off" ? words.PORTS_OFF : messageOf(error);
      say("ports-said", text, { isBad: error.code !== "ports_off" });
    }
  }
}
