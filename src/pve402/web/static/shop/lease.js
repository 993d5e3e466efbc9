// One lease: how it is, the ways into its container, and its end.

import { inWords } from "../app/durations.js";
import { confirmed, element, facts, make, say } from "./dom.js";
import { Files } from "./files.js";
import { Ports } from "./ports.js";
import { messageOf } from "./problems.js";
import * as service from "./service.js";
import * as signingIn from "./signing_in.js";
import * as storage from "./storage.js";
import { openTab } from "./tabs.js";
import { Usage } from "./usage.js";
import * as words from "./words.js";

const SOON_MS = 3_000;
const USUAL_MS = 20_000;
const CHANGING = new Set(["provisioning", "stopping"]);
const STANDING = ["active", "stopped"];

// The service takes no money for a lease that its operator has suspended.
export const isRenewable = (lease) => STANDING.includes(lease.status) && !lease.suspended;

export class LeaseView {
  constructor() {
    this.waiting = null;
    this.leaseId = "";
    setInterval(() => this.showTimeLeft(), 1000);
    element("terminal").onclick = () => this.act(() => this.openTerminal());
    element("power").onclick = () => this.act(() => this.switchPower());
    element("end").onclick = () => this.act(() => this.end());
    element("files").ontoggle = () => this.openParts();
    element("ports").ontoggle = () => this.openParts();
    element("usage").ontoggle = () => this.openUsage();
    element("timeframe").onchange = () => this.openUsage();
  }

  leave() {
    clearTimeout(this.waiting);
    signingIn.withdraw();
    this.leaseId = "";
    this.lease = null;
  }

  show(leaseId) {
    this.leaseId = leaseId;
    element("lease-name").textContent = words.LEASE;
    element("lease-shown").hidden = true;
    for (const id of ["files", "ports", "usage"]) element(id).open = false;
    return this.look();
  }

  get token() {
    return storage.tokenOf(this.leaseId);
  }

  // Looks at the lease again and again, sooner while something changes.
  async look() {
    const leaseId = this.leaseId;
    clearTimeout(this.waiting);
    if (!leaseId) return;
    if (!this.token) return signingIn.offer(() => this.look());
    try {
      const found = await service.call("GET", `/lease/${leaseId}`, { token: this.token });
      if (leaseId !== this.leaseId) return;
      this.render(found);
    } catch (error) {
      if (leaseId !== this.leaseId) return;
      if (error.status === 401) return this.look();
      say("problem", messageOf(error), { isBad: true });
      if (error.status >= 400 && error.status < 429) return;
    }
    this.waiting = setTimeout(() => this.look(), this.isChanging() ? SOON_MS : USUAL_MS);
  }

  isChanging() {
    return !this.lease || CHANGING.has(this.lease.status) || this.lease.networkStatus === "pending";
  }

  render(lease) {
    this.lease = lease;
    const isActive = lease.status === "active" && !lease.suspended;
    const isRunning = isActive && lease.vmStatus.status !== "stopped";
    this.isRunning = isRunning;
    element("lease-name").textContent = lease.hostname;
    say("lease-status", words.statusOf(lease));
    element("lease-facts").replaceChildren(facts(rows(lease)));
    element("terminal").disabled = !isRunning;
    element("power").hidden = !isActive;
    element("power").textContent = isRunning ? words.STOP : words.START;
    element("renew").href = `/console/renew#${lease.leaseId}`;
    element("renew").hidden = !isRenewable(lease);
    element("end").hidden = !STANDING.includes(lease.status);
    for (const id of ["files", "ports"]) element(id).hidden = !isRunning;
    element("usage").hidden = !STANDING.includes(lease.status);
    element("lease-shown").hidden = false;
    this.showTimeLeft();
  }

  showTimeLeft() {
    const shown = element("time-left");
    if (!this.lease) return;
    const leftMs = Date.parse(this.lease.expiresAt) - Date.now();
    const isRunning = this.lease.status === "active" && leftMs > 0;
    shown.textContent = isRunning ? words.left(inWords(leftMs)) : "";
    shown.classList.toggle("soon", isRunning && leftMs < 300_000);
  }

  async act(work) {
    say("problem", "");
    try {
      await work();
    } catch (error) {
      say("problem", messageOf(error), { isBad: true });
      element("problem").focus();
    }
  }

  openTerminal() {
    const body = { consoleType: "terminal" };
    const path = `/management/console/${this.leaseId}`;
    return openTab(async () => {
      const link = await service.call("POST", path, { body, token: this.token });
      return link.consoleUrl;
    });
  }

  async switchPower() {
    const act = this.isRunning ? "stop" : "start";
    element("power").disabled = true;
    try {
      const path = `/lease/${this.leaseId}/${act}`;
      this.render({ ...this.lease, ...(await service.call("POST", path, { token: this.token })) });
    } finally {
      element("power").disabled = false;
    }
  }

  async end() {
    const question = {
      title: words.END_TITLE,
      text: words.endText(this.lease.hostname),
      yes: words.END_YES,
      no: words.END_NO,
    };
    if (!(await confirmed(question))) return;
    const path = `/lease/${this.leaseId}`;
    this.render({ ...this.lease, ...(await service.call("DELETE", path, { token: this.token })) });
    say("notice", words.ENDING);
    this.look();
  }

  // Figures are asked for each time somebody opens them or chooses a time.
  openUsage() {
    if (element("usage").open) return new Usage(this.leaseId, this.token).show();
  }

  // Files and ports are asked for when somebody opens them.
  openParts() {
    const { leaseId, token } = this;
    if (element("files").open && this.files?.leaseId !== leaseId) {
      this.files = new Files(leaseId, token);
      this.files.list(this.files.path);
    }
    if (element("ports").open && this.ports?.leaseId !== leaseId) {
      this.ports = new Ports(leaseId, token);
      this.ports.list();
    }
  }
}

function rows(lease) {
  const seen = lease.addresses.map((one) => one.address).join(", ");
  const code = (text) => make("code", {}, text);
  return [
    lease.suspended && [words.ROW_SUSPENDED, lease.suspended.reason],
    lease.status === "stopped" && [words.ROW_STATUS, words.RENEWABLE],
    lease.endedAt
      ? [words.ROW_ENDED, words.moment(lease.endedAt)]
      : lease.expiresAt && [words.ROW_LASTS, words.moment(lease.expiresAt)],
    lease.deletesAt && [words.ROW_KEPT, words.moment(lease.deletesAt)],
    [words.ROW_SIZE, words.sizeOf(lease)],
    [words.ROW_ADDRESSES, seen || words.NO_ADDRESS],
    lease.ssh && [words.ROW_SSH, code(lease.ssh.command)],
    [words.ROW_LEASE, code(lease.leaseId)],
  ];
}
