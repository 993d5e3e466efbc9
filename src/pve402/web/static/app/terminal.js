// The terminal page: xterm.js over the console's websocket.

import { Terminal } from "../vendor/xterm/lib/xterm.mjs";
import { FitAddon } from "../vendor/addon-fit/lib/addon-fit.mjs";
import { Unicode11Addon } from "../vendor/addon-unicode11/lib/addon-unicode11.mjs";
import { Frame, element, isWayOut, keyBar } from "./frame.js";

const KEYS = { escape: "\x1b", tab: "\t", up: "A", down: "B", right: "C", left: "D" };
const SIZES = { smallest: 8, largest: 32, usual: 14 };
const LARGE_PASTE_BYTES = 64 * 1024;
const INTERRUPT = "\x03";
const THEME = {
  background: "#101418",
  foreground: "#e8eaed",
  cursor: "#ffd75f",
  cursorAccent: "#101418",
  selectionBackground: "#3f5f8f",
};

const encoder = new TextEncoder();
const frame = new Frame();
const terminal = new Terminal({
  allowProposedApi: true, // needed for the unicode addon's width tables
  cursorBlink: false,
  fontFamily: 'ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSize: SIZES.usual,
  lineHeight: 1.2, // at 1.0 underscores disappear below the cell
  minimumContrastRatio: 4.5,
  scrollback: 10_000,
  theme: THEME,
});
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.loadAddon(new Unicode11Addon());
terminal.unicode.activeVersion = "11";
terminal.open(element("screen"));
fit.fit();

const connection = frame.open("/console/terminal/ws", {
  size: () => ({ columns: terminal.cols, rows: terminal.rows }),
  ready: (_facts, isFirst) => {
    if (!isFirst) terminal.reset(); // the service sends the screen again
    terminal.options.disableStdin = false;
    terminal.focus();
  },
  bytes: (bytes, done) => terminal.write(bytes, done),
  queued: showQueue,
  another: openTab,
  over: () => {
    terminal.options.disableStdin = true;
  },
});

const keys = keyBar(pressKey, () => terminal.focus());

terminal.onData((text) => {
  if (text === INTERRUPT) connection.dropInput();
  connection.type(encoder.encode(withControl(text)));
});
terminal.onBinary((text) => connection.type(Uint8Array.from(text, (c) => c.charCodeAt(0))));
terminal.onResize((size) => connection.tell({ resize: { columns: size.cols, rows: size.rows } }));
terminal.attachCustomKeyEventHandler((event) => {
  if (isWayOut(event)) return false;
  if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
    if (event.type === "keydown") copy();
    event.preventDefault();
    return false;
  }
  return !(event.ctrlKey && event.shiftKey && event.code === "KeyV"); // the browser pastes
});

new ResizeObserver(() => requestAnimationFrame(() => fit.fit())).observe(element("screen"));

element("copy").onclick = () => copy();
element("paste").onclick = () => paste();
element("another").onclick = () => connection.tell({ another: true });
element("smaller").onclick = () => setFontSize(terminal.options.fontSize - 1);
element("larger").onclick = () => setFontSize(terminal.options.fontSize + 1);
element("reader").onclick = () => setReader(!terminal.options.screenReaderMode);
setReader(localStorage.getItem("screen-reader") === "on");

function setFontSize(size) {
  terminal.options.fontSize = Math.min(Math.max(size, SIZES.smallest), SIZES.largest);
  fit.fit();
}

function setReader(on) {
  terminal.options.screenReaderMode = on;
  localStorage.setItem("screen-reader", on ? "on" : "off");
  element("reader").setAttribute("aria-pressed", String(on));
}

async function copy() {
  const text = terminal.getSelection();
  if (!text) return frame.say("Select some text first.");
  try {
    await navigator.clipboard.writeText(text);
    frame.say("Copied.");
  } catch {
    frame.say("The browser does not allow it; use its context menu.");
  }
  terminal.focus();
}

async function paste() {
  try {
    terminal.paste(await navigator.clipboard.readText());
  } catch {
    frame.say("The browser does not allow it; press Ctrl+Shift+V in the terminal.");
  }
  terminal.focus();
}

function pressKey(name) {
  const isArrow = KEYS[name].length === 1 && "ABCD".includes(KEYS[name]);
  const lead = terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[";
  terminal.input(isArrow ? lead + KEYS[name] : KEYS[name]);
}

function withControl(text) {
  if (!keys.isHeld() || text.length !== 1) return text;
  keys.release();
  const code = text.toUpperCase().charCodeAt(0);
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : text;
}

function showQueue(bytes) {
  if (bytes < LARGE_PASTE_BYTES && !document.body.dataset.pasting) return;
  document.body.dataset.pasting = bytes ? "yes" : "";
  const kilobytes = Math.ceil(bytes / 1024);
  element("state").textContent = bytes
    ? `pasting, ${kilobytes} KB to go; Ctrl+C cancels`
    : "connected";
}

function openTab(another) {
  open(`/console/terminal#${another.ticket}`, "_blank", "noopener");
}
