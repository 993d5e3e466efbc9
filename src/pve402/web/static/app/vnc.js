// The VNC page: noVNC over the console's websocket. Text messages are ours, bytes are its own.

import RFB from "../vendor/novnc/core/rfb.js";
import { Frame, element, isWayOut, keyBar } from "./frame.js";

const KEYSYMS = {
  escape: 0xff1b, tab: 0xff09, up: 0xff52, down: 0xff54, left: 0xff51, right: 0xff53,
};
const CONTROL = 0xffe3;
const RETURN = 0xff0d;
const LARGEST_PASTE = 4096;

const frame = new Frame();
let viewer = null;
let channel = null;

const connection = frame.open(
  "/console/vnc/ws",
  {
    size: () => ({}),
    ready: () => show(),
    bytes: (bytes) => channel.deliver(bytes),
    over: () => hide(),
    state: (word) => {
      if (word === "waiting") hide();
    },
  },
  { window: 0 },
);

const keys = keyBar(pressKey, () => viewer?.focus());
element("paste").onclick = () => paste();
element("scale").onclick = () => setScale(element("scale").getAttribute("aria-pressed") !== "true");
// The picture itself is not in the tab order; this lets the keyboard get back to it.
element("screen").tabIndex = 0;
element("screen").addEventListener("focus", () => viewer?.focus());
element("screen").addEventListener("keydown", (event) => {
  if (isWayOut(event)) event.stopPropagation();
}, true);

// Looks like an open websocket to noVNC, but hides our text messages from it.
class Channel {
  binaryType = "arraybuffer";
  protocol = "";
  readyState = WebSocket.OPEN;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  #early = [];

  deliver(bytes) {
    if (!this.onmessage) this.#early.push(bytes);
    else this.onmessage({ data: bytes.buffer });
  }

  attached() {
    for (const bytes of this.#early.splice(0)) this.deliver(bytes);
  }

  send(bytes) {
    connection.type(bytes.slice()); // noVNC reuses its buffer
  }

  // noVNC waits for the close event, and complains if there is none.
  close() {
    this.readyState = WebSocket.CLOSED;
    queueMicrotask(() => this.onclose?.({ code: 1000, reason: "", wasClean: true }));
  }
}

function show() {
  hide();
  element("screen").replaceChildren();
  channel = new Channel();
  viewer = new RFB(element("screen"), channel, { shared: true });
  viewer.background = "#101418";
  viewer.scaleViewport = element("scale").getAttribute("aria-pressed") === "true";
  viewer.addEventListener("connect", () => viewer.focus());
  viewer.addEventListener("securityfailure", () => frame.say("The console refused the viewer."));
  channel.attached();
}

// The last picture stays visible, as xterm's text does.
function hide() {
  const picture = element("screen").querySelector("canvas");
  const still = picture && new Image();
  if (still) still.src = picture.toDataURL();
  if (viewer) viewer.disconnect();
  viewer = null;
  if (still) {
    still.alt = "The last picture of the console";
    element("screen").replaceChildren(still);
  }
}

function setScale(on) {
  element("scale").setAttribute("aria-pressed", String(on));
  element("screen").classList.toggle("fit", on); // also for the last picture, once the viewer is gone
  if (viewer) viewer.scaleViewport = on;
}

function pressKey(name) {
  if (!viewer) return;
  const isControlled = keys.isHeld();
  if (isControlled) viewer.sendKey(CONTROL, "ControlLeft", true);
  viewer.sendKey(KEYSYMS[name], null);
  if (isControlled) viewer.sendKey(CONTROL, "ControlLeft", false);
  keys.release();
}

// Types the text, since the terminal behind the picture has no clipboard.
async function paste() {
  let text = "";
  try {
    text = await navigator.clipboard.readText();
  } catch {
    return frame.say("The browser does not allow it; the terminal page can paste.");
  }
  if (text.length > LARGEST_PASTE) return frame.say("Too long to type; use the terminal page.");
  for (const character of text.replace(/\r\n?/g, "\n")) {
    const code = character.codePointAt(0);
    if (character === "\n") viewer?.sendKey(RETURN, null);
    else viewer?.sendKey(code < 0x100 ? code : 0x01000000 + code, null);
  }
  viewer?.focus();
}
