// One console's connection: first the ticket, then bytes; it reconnects when it drops.
//
// Output is acknowledged once it is displayed, and the service sends at most one window ahead of
// that. Input is sent in pieces, at most a fixed amount ahead of what the container has read, so
// that a huge paste does not fill any buffer.

const WINDOW_BYTES = 1024 * 1024;
const ACK_BYTES = 64 * 1024;
const PIECE_BYTES = 16 * 1024;
const INPUT_AHEAD_BYTES = 128 * 1024;
const PAUSES_MS = [300, 1000, 2000, 4000, 8000, 8000, 8000, 8000];
const RETRIED_CODES = new Set([1005, 1006, 1011, 1012, 1013, 4502]);
// The terminal may still be held by this browser itself, through a page closed a moment ago.
const BUSY = 4409;
const BUSY_TRIES = 2;

export class Connection {
  // `on` has ready(facts, isFirst), bytes(Uint8Array, done), lease(facts), addresses(list), ports(list), state(word),
  // over(reason, canRetry) and size(), which returns columns and rows.
  constructor(path, on, { window = WINDOW_BYTES } = {}) {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.url = `${scheme}//${location.host}${path}`;
    this.on = on;
    this.window = window;
    this.ticket = "";
    this.socket = null;
    this.isOpen = false;
    this.wasOpen = false;
    this.attempt = 0;
    this.shown = 0;
    this.input = [];
    this.inputBytes = 0;
    this.ahead = 0;
    this.waiting = null;
    addEventListener("online", () => this.hurry());
  }

  start(ticket) {
    this.leave();
    this.ticket = ticket;
    this.attempt = 0;
    this.connect();
  }

  // Closes the current connection silently.
  leave() {
    clearTimeout(this.waiting);
    const socket = this.socket;
    this.socket = null;
    this.isOpen = false;
    this.dropInput();
    if (socket) {
      socket.onmessage = null;
      socket.close();
    }
  }

  connect() {
    this.waiting = null;
    this.reason = "";
    this.on.state("connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.sayHello(socket);
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.closed(socket, event);
  }

  sayHello(socket) {
    const hello = { ticket: this.ticket, ...this.on.size() };
    if (this.window) hello.window = this.window;
    this.ticket = "";
    this.shown = 0;
    this.ahead = 0;
    socket.send(JSON.stringify(hello));
  }

  receive(data) {
    if (typeof data !== "string") {
      const bytes = new Uint8Array(data);
      this.on.bytes(bytes, () => this.acknowledge(bytes.length));
      return;
    }
    const told = JSON.parse(data);
    if (told.resume) this.ticket = told.resume;
    if (told.ready) this.becomeReady(told.ready);
    if (told.lease) this.on.lease(told.lease);
    if (told.addresses) this.on.addresses?.(told.addresses);
    if (told.ports) this.on.ports?.(told.ports);
    if (told.another) this.on.another?.(told.another);
    if (told.exit) this.reason = told.exit;
    if (told.taken) {
      this.ahead = Math.max(0, this.ahead - told.taken);
      this.sendInput();
    }
  }

  becomeReady(facts) {
    const isFirst = !this.wasOpen;
    this.ticket = facts.resume;
    this.isOpen = this.wasOpen = true;
    this.attempt = 0;
    this.on.state("connected");
    this.on.ready(facts, isFirst);
  }

  acknowledge(count) {
    this.shown += count;
    if (this.window && this.shown >= ACK_BYTES) {
      this.tell({ ack: this.shown });
      this.shown = 0;
    }
  }

  tell(command) {
    if (this.isOpen && this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(command));
    }
  }

  type(bytes) {
    if (!this.isOpen) return;
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      this.input.push(bytes.subarray(start, start + PIECE_BYTES));
    }
    this.inputBytes += bytes.length;
    this.sendInput();
  }

  dropInput() {
    this.input = [];
    this.inputBytes = 0;
  }

  sendInput() {
    while (this.input.length && this.isOpen && this.ahead < INPUT_AHEAD_BYTES) {
      const piece = this.input.shift();
      this.inputBytes -= piece.length;
      this.ahead += piece.length;
      this.socket.send(piece);
    }
    this.on.queued?.(this.inputBytes);
  }

  closed(socket, event) {
    if (socket !== this.socket) return;
    this.isOpen = false;
    this.dropInput();
    this.on.queued?.(0);
    const reason = this.reason || event.reason;
    const tries = event.code === BUSY ? BUSY_TRIES : PAUSES_MS.length;
    const isRetried = event.code === BUSY || RETRIED_CODES.has(event.code);
    if (isRetried && this.ticket && this.attempt < tries) {
      this.on.state("waiting");
      this.waiting = setTimeout(() => this.connect(), PAUSES_MS[this.attempt++]);
    } else {
      this.on.state("over");
      this.on.over(reason, Boolean(this.ticket), this.wasOpen);
    }
  }

  hurry() {
    if (this.waiting === null) return;
    clearTimeout(this.waiting);
    this.connect();
  }

  again() {
    if (this.ticket) this.start(this.ticket);
  }
}
