// Exact prices in whole numbers, by the service's own rule: rates are decimal strings in USD with
// at most 18 places, memory counts in 1024ths of a GB, and a price is rounded up once.

const PLACES = 18;
const MB_PER_GB = 1024n;

// The price of a size for some minutes, in atomic units of an asset worth one USD.
export function leaseUnits(sku, size, decimals, { withBase = true } = {}) {
  const addresses = scaled(sku.addressUsdMinute ?? "0") * BigInt(sku.addressCount ?? 0);
  const minute =
    (scaled(sku.coreMinuteUsd) * BigInt(size.cores) +
      scaled(sku.diskGBMinuteUsd) * BigInt(size.diskGB) +
      addresses) *
      MB_PER_GB +
    scaled(sku.memoryGBMinuteUsd) * BigInt(size.memoryMB);
  const base = withBase ? scaled(sku.baseUsd) * MB_PER_GB : 0n;
  const usd = base + minute * BigInt(size.minutes);
  const unit = MB_PER_GB * 10n ** BigInt(PLACES);
  const units = (usd * 10n ** BigInt(decimals) + unit - 1n) / unit;
  return units > 1n ? units : 1n;
}

// An amount as people write it: 21800 with 6 decimals is 0.0218.
export function inUnits(amount, decimals) {
  const digits = String(amount).padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const part = digits.slice(digits.length - decimals).replace(/0+$/, "");
  return part ? `${whole}.${part}` : whole;
}

export const priced = (offer) => `${inUnits(offer.amount, offer.decimals)} ${offer.symbol}`;

function scaled(text) {
  const [whole, part = ""] = text.split(".");
  return BigInt(whole + part.padEnd(PLACES, "0"));
}
