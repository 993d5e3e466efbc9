// What the page says when a console ends, by the reason from the service.

const WORDS = {
  console_ticket_refused: "This link was already used, or it has expired. Ask for a new one.",
  no_link: "This page needs a link, which works only once. Ask for a new one.",
  wrong_origin: "This page does not belong to the service it is trying to reach.",
  expired: "The lease has expired.",
  ended_by_owner: "The lease was ended.",
  lease_ended: "The lease has ended.",
  lease_not_ready: "The lease is not active.",
  lease_suspended: "The operator has suspended this lease.",
  suspended: "The operator has suspended this lease.",
  token_revoked: "The access token that opened this console is no longer valid.",
  guest_not_running: "The container is stopped.",
  exit: "The shell has ended.",
  closed: "The console was closed.",
  console_busy: "The terminal is in use by another kind of console or by a command. Close that first.",
  too_many_consoles: "Too many consoles are open. Close one first.",
  too_many_commands: "Too much is running in this container. Wait until something ends.",
  terminal_stuck: "A program is blocking the terminal. Restart the container.",
  no_shell: "The container has no usable shell.",
  session_lost: "The connection to the container was lost.",
  terminal_unreachable: "The container's terminal cannot be reached right now.",
  overloaded: "The service is busy.",
  refused: "The viewer and the service do not understand each other.",
};

const MAY_RETRY = new Set([
  "exit",
  "closed",
  "console_busy",
  "too_many_consoles",
  "too_many_commands",
  "guest_not_running",
  "terminal_stuck",
  "session_lost",
  "terminal_unreachable",
  "overloaded",
]);
const MAY_RENEW = new Set(["expired", "lease_ended", "lease_not_ready"]);

export function explain(reason, wasOpen) {
  if (WORDS[reason]) return WORDS[reason];
  return wasOpen ? "The connection was lost." : "The service cannot be reached.";
}

export const mayRetry = (reason) => MAY_RETRY.has(reason) || !WORDS[reason];
export const isLeaseOver = (reason) => MAY_RENEW.has(reason) || reason === "ended_by_owner";
export const isLinkUsed = (reason) => reason === "console_ticket_refused" || reason === "no_link";
export const mayRenew = (reason) => MAY_RENEW.has(reason);
