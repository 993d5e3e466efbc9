// Everything that the scripts say, in one place.

import { inUnits, priced } from "./money.js";

export const CONNECT = "Connect a wallet";
export const CANCEL = "Cancel";
export const UNEXPECTED = "Something went wrong on this page. Load it again.";
export const UNREACHABLE = "The service cannot be reached. Check your connection and try again.";
export const answered = (status) => `The service answered ${status}.`;

// Wallets
export const NAMELESS_WALLET = "Wallet of this browser";
export const CHOOSE_WALLET = "Choose a wallet";
export const NO_WALLET =
  "There is no wallet in this browser. Install one, such as MetaMask or Rabby, or open this page in the browser of your wallet's app.";
export const NO_WALLET_CHOSEN = "No wallet was chosen.";
export const NO_ACCOUNT = "The wallet returned no account.";
export const DECLINED = "You declined in your wallet. Nothing was paid.";
export const NOT_ALLOWED = "The wallet does not allow this page to use that account. Connect it again.";
export const ALREADY_ASKING = "Your wallet has a question open already. Answer it there, then try again.";
export const UNKNOWN_CHAIN = "The wallet does not know this network. Add it there, then try again.";
export const BAD_SIGNATURE = "The wallet answered with something that is not a signature. Nothing was paid.";
export const OTHER_ACCOUNT = "The account in your wallet changed. Nothing was paid; check it and try again.";
export const walletFailed = (said) => `The wallet refused${said ? `: ${said}` : ""}. Nothing was paid.`;
export const otherChain = (network) =>
  `Your wallet is still on another network. Switch it to ${titleOf(network)}. Nothing was paid.`;
export const tooLittle = (owned, offer) =>
  `This account has ${inUnits(owned, offer.decimals)} ${offer.symbol} on ${offer.network}, and the price is ${priced(offer)}. Nothing was signed.`;
export const shortAddress = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

// Payments
export const CANCELLED = "You cancelled. Nothing was paid.";
export const STILL_OPEN =
  "A payment is still open in this browser. Load the page again to find out what became of it; no other is signed until then.";
export const OPEN_ELSEWHERE = "Another tab is busy with a payment. Finish it there first.";
export const FORGOTTEN = "The browser has forgotten this payment. Nothing was sent.";
export const KEEPS_NOTHING =
  "This browser keeps no data for this page, so it could not find out after a break what became of a payment. Nothing was signed.";
export const INTERRUPTED =
  "This page was closed before your wallet answered. Nothing was sent, so nothing was paid.";
export const notOver = (validBefore) =>
  `A payment may be waiting for its signature in another tab. You can pay here after ${time(new Date(Number(validBefore) * 1000))}.`;
export const notOffered = (network) => `The service does not offer ${network} for this just now. Choose another network.`;
export const BAD_TERMS = "The service asks for something other than it shows. Nothing was signed.";
export const PRICE_CHANGED = "The price has changed. Nothing was signed; check it and try again.";
export const refused = (error) =>
  error.status === 402
    ? `The payment was refused, and nothing was charged. ${error.message}`
    : `${error.message}${error.isUnclear ? ` ${LOOK_BEFORE_PAYING}` : ""}`;
const LOOK_BEFORE_PAYING = "Check your leases and your wallet before you pay again.";

export const REVIEW_TITLE = "What you sign";
export const reviewIntroduction = (wallet) =>
  `${wallet} will show a request called TransferWithAuthorization with these figures. Sign it only if they match.`;
export const REVIEW_PROMISE =
  "Your signature allows this one transfer and nothing else. It costs you no network fee. If the container does not come up, nothing is charged.";
export const signWith = (wallet) => `Go on to ${wallet}`;
export const ROW_AMOUNT = "You pay";
export const ROW_FOR = "For";
export const ROW_TO = "To";
export const ROW_FROM = "From";
export const ROW_NETWORK = "On";
export const ROW_UNTIL = "Valid";
export const asValue = (amount) => ` (the wallet shows value ${amount})`;
export const ofOperator = (host) => ` the operator of ${host}`;
export const chain = (network) => `${titleOf(network)} (chain ${network.networkId.split(":")[1]})`;
export const validUntil = (until) => `until ${time(until)}, and not after`;

export const STAGES = {
  signing: "You sign in your wallet",
  sent: "The service checks it",
  making: "The container is made, then paid",
};
export function stageText(stage, text) {
  if (stage === "signing") return `Waiting for your signature in ${text}.`;
  if (stage === "sent") return "Signed. The service checks the payment.";
  if (stage === "making") return "The container is being made. You are charged once it runs.";
  if (stage === "elsewhere") return OPEN_ELSEWHERE;
  return `No answer about the payment yet; asking again with the same one. Do not pay again. ${text}`;
}
export const paid = (lease) =>
  lease.status === "active" && lease.expiresAt
    ? `Paid. The lease lasts until ${moment(lease.expiresAt)}.`
    : `Paid. ${lease.message}`;
export const resuming = (what) => `Finding out what became of your payment for ${what}.`;

// What is for sale
export const skuOf = (sku) => (sku.description ? `${sku.sku}: ${sku.description}` : sku.sku);
export const networkOf = (network) => `${titleOf(network)}, ${network.symbol}`;
export const anHour = (amount, symbol) => `${amount} ${symbol} an hour`;
export const once = (amount, symbol) => `, and ${amount} ${symbol} once`;
export const priceSpoken = (amount, size) => `${amount} for ${size}`;
export const NO_ROOM = "There is no room for this size just now. Try a smaller one, or later.";
export const NOTHING_ON_SALE = "Nothing is on sale here just now.";
export const PAY = "Review and pay";
export const CONNECT_AND_PAY = "Connect a wallet to pay";
export const SIZE_WRONG = "Check the figures marked in the form.";
export const USUAL_TEMPLATE = "the usual one";
export const sizeOf = (size) =>
  [
    `${size.cores} ${size.cores === 1 ? "core" : "cores"}`,
    `${amountOf("memory", size.memoryMB)} memory`,
    `${size.diskGB} GB disk`,
  ].join(", ");
export const leaseFor = (sku, size) => `${duration(size.minutes)} of ${sku}: ${sizeOf(size)}`;
export const renewalFor = (lease, minutes) => `${duration(minutes)} more of lease ${lease}`;

export function amountOf(kind, value) {
  if (kind === "minutes") return duration(value);
  if (kind === "cores") return String(value);
  if (kind === "disk") return `${value} GB`;
  return value >= 1024 && value % 256 === 0 ? `${value / 1024} GB` : `${value} MB`;
}

// 1530 minutes are 1 day 1 h 30 min.
export function duration(minutes) {
  const days = Math.floor(minutes / 1440);
  const hours = Math.floor((minutes % 1440) / 60);
  const rest = minutes % 60;
  const parts = [
    days && `${days} ${days === 1 ? "day" : "days"}`,
    hours && `${hours} h`,
    (rest || minutes < 1) && `${rest} min`,
  ];
  return parts.filter(Boolean).join(" ");
}

const titleOf = (network) => network.title || network.network;
const time = (date) => date.toLocaleTimeString([], { timeStyle: "medium" });
export const moment = (text) =>
  new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// Leases
export const SIGN_IN_ELSEWHERE =
  "The service asks for a signature that is not just a sign-in here. Nothing was signed. If you trust the service, open it at its own address.";
export const STATUS = {
  provisioning: "being made",
  active: "running",
  stopping: "stopping",
  stopped: "expired",
  ended: "ended",
  failed: "failed",
};
export const statusOf = (lease) => {
  if (lease.suspended) return "suspended by the operator";
  if (lease.status !== "active") return STATUS[lease.status] ?? lease.status;
  if (lease.paused) return "paused";
  if (lease.networkStatus === "pending") return "running, network still starting";
  return { running: "running", stopped: "stopped", missing: "missing" }[lease.vmStatus.status] ?? "paid";
};
export const lasts = (isOver, end) => `${isOver ? "ended" : "until"} ${moment(end)}`;
export const START = "Start";
export const STOP = "Stop";
export const owed = (usd, network) => `${usd} USD on ${network} are owed to you`;
export const OWED = "This was paid and bought nothing. Lease a container for it without paying again.";
export const DELIVERING = "The service still tries to deliver what was paid for.";
export const redeemCommand = (origin, owedId) => `PVE402_URL=${origin} pve402 redeem ${owedId} --hostname NAME --minutes MINUTES`;
export const NO_LEASES = "This wallet has no leases here.";
export const signedIn = (address) => `Signed in as ${shortAddress(address)}.`;
export const ROW_STATUS = "Status";
export const ROW_LEFT = "Time left";
export const ROW_LASTS = "Lasts until";
export const ROW_KEPT = "Kept until";
export const ROW_ENDED = "Ended";
export const ROW_SIZE = "Size";
export const ROW_ADDRESSES = "Addresses";
export const ROW_SSH = "SSH";
export const ROW_LEASE = "Lease";
export const ROW_SUSPENDED = "Why";
export const NO_ADDRESS = "none that the service knows";
export const left = (text) => `${text} left`;
export const RENEWABLE = "Its disk is kept: renew it, and it starts again.";
export const END_TITLE = "End this lease?";
export const endText = (name) =>
  `${name} and everything on its disk is destroyed at once. Nothing is refunded.`;
export const END_YES = "End and destroy";
export const END_NO = "Keep it";
export const ENDING = "The lease is being ended.";

// Files
export const UP = "Up";
export const FOLDER = "folder";
export const EMPTY_FOLDER = "This folder is empty.";
export const DOWNLOAD = "Download";
export const REMOVE = "Remove";
export const MORE = "Show more";
export const removeTitle = (name) => `Remove ${name}?`;
export const removeText = (path) => `${path} is gone for good then.`;
export const replaceTitle = (name) => `Replace ${name}?`;
export const replaceText = "There is a file of that name already.";
export const REPLACE = "Replace";
export const uploading = (name) => `Uploading ${name}.`;
export const uploaded = (name) => `${name} is in the container.`;
// A guest chooses its files' names: what is pasted into a shell is quoted, and shows no line breaks as such.
const quoted = (word) =>
  /^[\w/.,:@%+-]+$/.test(word)
    ? word
    : /[\p{C}\p{Zl}\p{Zp}]/u.test(word)
      ? "FILE"
      : `'${word.replaceAll("'", `'\\''`)}'`;
export const tooLarge = (command) =>
  `Too large for a browser. Use the command line: ${command.map(quoted).join(" ")}`;
export const bytes = (count) => {
  const units = ["B", "KB", "MB", "GB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), units.length - 1);
  return `${power ? (count / 1024 ** power).toFixed(1) : count} ${units[power]}`;
};

// Usage
export const NO_FIGURES = "No figures yet: they are taken once a minute.";
export const PROCESSOR = "Processor";
export const MEMORY = "Memory";
export const DISK = "Disk";
export const NETWORK_IN = "Network in";
export const NETWORK_OUT = "Network out";
export const DISK_READ = "Disk read";
export const DISK_WRITE = "Disk write";
export const percent = (fraction) => `${(100 * fraction).toFixed(1)}%`;
export const aSecond = (count) => `${bytes(Math.round(count))}/s`;
export const used = (last, mean, most, total) =>
  `last ${last}, average ${mean}, peak ${most}${total ? `, of ${total}` : ""}`;
export const between = (began, ended) => `from ${moment(began)} to ${moment(ended)}`;

// Ports
export const PORTS_OFF = "This service publishes no ports.";
export const OPEN = "Open";
export const WITHDRAW = "Withdraw";

// Receipts
export const NO_RECEIPTS = "Nothing was paid from this browser yet.";
export const ROW_PAID = "Paid";
export const onNetwork = (amount, network) => `${amount} on ${network}`;
export const TRANSACTION = "Transaction";
export const receiptFor = (receipt) => `${moment(receipt.at)}: ${receipt.what}`;
export const LEASE = "Lease";

// Renewals
export const NO_LEASE_NAMED = "unknown";
export const OPEN_FROM_CONSOLE = "Open this page from a console or from your leases.";
export const MINUTES_WRONG = "Enter a whole number of minutes, 1 or more.";
export const renewCommand = (origin, lease, minutes, offer) =>
  `PVE402_URL=${origin} pve402 renew ${lease} --minutes ${minutes} --max-usd ${inUnits(offer.amount, offer.decimals)}`;
