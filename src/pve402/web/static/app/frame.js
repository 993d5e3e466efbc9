// The frame around both consoles: name, state, time left, notices, renewal link.

import { Connection } from "./connection.js";
import { inWords } from "./durations.js";
import { NO_PORTS, described } from "./ports.js";
import { explain, isLeaseOver, isLinkUsed, mayRenew, mayRetry } from "./words.js";

const STATES = {
  connecting: "connecting",
  connected: "connected",
  waiting: "connection lost, trying again",
  over: "disconnected",
};
const MINUTE_MS = 60_000;
const ANNOUNCED_MINUTES = [10, 5, 1];

export const element = (id) => document.getElementById(id);

export class Frame {
  constructor() {
    this.expiresAt = null;
    this.clockAheadMs = 0;
    this.announced = new Set();
    setInterval(() => this.showTimeLeft(), 1000);
  }

  // Connects to `path` with the page's ticket. `on` is as for Connection, minus what this class does.
  open(path, on, options) {
    const connection = new Connection(
      path,
      {
        ...on,
        state: (word) => {
          this.showState(word);
          on.state?.(word);
        },
        ready: (facts, isFirst) => {
          this.greet(facts);
          on.ready(facts, isFirst);
        },
        lease: (facts) => this.setEnd(facts.expiresAt),
        addresses: (found) => this.showAddresses(found),
        ports: (found) => this.showPorts(found),
        over: (reason, canRetry, wasOpen) => {
          this.notice(reason, canRetry, wasOpen);
          on.over?.(reason);
        },
      },
      options,
    );
    element("again").onclick = () => connection.again();
    element("ports").ontoggle = () => {
      if (element("ports").open) connection.tell({ ports: true });
    };
    globalThis.onNewTicket = () => connection.start(globalThis.takeTicket());
    const ticket = globalThis.takeTicket();
    if (ticket) connection.start(ticket);
    else this.refuse(on);
    return connection;
  }

  // The page was reloaded, or opened without a link.
  refuse(on) {
    this.showState("over");
    this.notice("no_link", false, false);
    on.over?.("no_link");
  }

  // Disables whatever needs a shell while there is none.
  showState(word) {
    element("state").textContent = STATES[word];
    document.body.dataset.state = word;
    for (const button of document.querySelectorAll("[data-live], [data-key]")) {
      button.disabled = word === "over";
    }
  }

  greet(facts) {
    document.title = `${facts.hostname} (${facts.ctid})`;
    element("name").textContent = facts.hostname;
    for (const id of ["renew", "notice-renew"]) {
      element(id).href = `/console/renew#${facts.leaseId}`;
    }
    element("renew").hidden = false;
    element("notice").hidden = true;
    this.clockAheadMs = Date.now() - Date.parse(facts.now);
    this.setEnd(facts.expiresAt);
  }

  // The container's own words: shown as text, and no more of them than fit.
  showAddresses(found) {
    element("addresses").textContent = found.slice(0, 2).join(", ");
    element("addresses").title = found.join(", ");
    element("addresses").hidden = false;
  }

  // Asked for each time that somebody opens the list. Private ones need a login, which a console
  // cannot give.
  showPorts(found) {
    element("port-list").replaceChildren(
      ...found.map((port) => {
        const line = document.createElement("li");
        line.append(described(port));
        return line;
      }),
    );
    element("ports-said").textContent = found.length ? "" : NO_PORTS;
  }

  setEnd(expiresAt) {
    this.expiresAt = expiresAt ? Date.parse(expiresAt) : null;
    this.announced.clear();
    this.showTimeLeft();
  }

  showTimeLeft() {
    const shown = element("time-left");
    shown.hidden = this.expiresAt === null;
    if (shown.hidden) return;
    const leftMs = Math.max(0, this.expiresAt - (Date.now() - this.clockAheadMs));
    const text = `${inWords(leftMs)} left`;
    if (shown.textContent !== text) shown.textContent = text;
    shown.classList.toggle("soon", leftMs < 5 * MINUTE_MS);
    this.announce(leftMs);
  }

  // Screen readers announce the time left only a few times.
  announce(leftMs) {
    const due = ANNOUNCED_MINUTES.filter((minutes) => leftMs <= minutes * MINUTE_MS);
    const minutes = due.at(-1);
    if (minutes === undefined || this.announced.has(minutes) || !leftMs) return;
    due.forEach((passed) => this.announced.add(passed));
    element("spoken").textContent = `Less than ${minutes} ${minutes > 1 ? "minutes" : "minute"} left`;
  }

  notice(reason, canRetry, wasOpen) {
    if (isLeaseOver(reason)) {
      this.setEnd(null);
      element("renew").hidden = true;
    }
    element("notice-text").textContent = explain(reason, wasOpen);
    element("again").hidden = !(canRetry && mayRetry(reason));
    element("notice-renew").hidden = !(mayRenew(reason) && wasOpen);
    element("notice-leases").hidden = !(isLinkUsed(reason) && document.body.dataset.shop === "yes");
    element("notice").hidden = false;
  }

  say(text) {
    element("notice-text").textContent = text;
    for (const id of ["again", "notice-renew", "notice-leases"]) element(id).hidden = true;
    element("notice").hidden = false;
    setTimeout(() => {
      if (element("notice-text").textContent === text) element("notice").hidden = true;
    }, 6000);
  }
}

// The bar of keys that phones lack. `press(name)` types one; Ctrl applies to the next key.
export function keyBar(press, focus) {
  const bar = document.querySelector(".keys");
  const control = bar.querySelector('[data-key="control"]');
  const hold = (on) => control.setAttribute("aria-pressed", String(on));
  const isHeld = () => control.getAttribute("aria-pressed") === "true";
  bar.addEventListener("click", (event) => {
    const key = event.target.dataset?.key;
    if (!key) return;
    if (key === "control") hold(!isHeld());
    else press(key);
    focus();
  });
  return { isHeld, release: () => hold(false) };
}

// Shift+F6 moves the focus from the console to the buttons.
export function isWayOut(event) {
  if (event.key !== "F6" || !event.shiftKey) return false;
  if (event.type === "keydown") document.querySelector(".tools button:enabled").focus();
  event.preventDefault();
  return true;
}
