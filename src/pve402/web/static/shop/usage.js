// What the container used: a chart of each figure, which is told in words, too.

import { element, make, say, shape } from "./dom.js";
import { messageOf } from "./problems.js";
import * as service from "./service.js";
import * as words from "./words.js";

const WIDTH = 600;
const HEIGHT = 60;
const isKnown = Number.isFinite;
const wholeBytes = (count) => words.bytes(Math.round(count));
const FIGURES = [
  { name: words.PROCESSOR, field: "cpuFraction", told: words.percent, total: () => 1 },
  { name: words.MEMORY, field: "memoryBytes", told: wholeBytes, total: (last) => last.memoryTotalBytes },
  { name: words.DISK, field: "diskBytes", told: wholeBytes, total: (last) => last.diskTotalBytes },
  { name: words.NETWORK_IN, field: "networkInBytesPerSecond", told: words.aSecond },
  { name: words.NETWORK_OUT, field: "networkOutBytesPerSecond", told: words.aSecond },
  { name: words.DISK_READ, field: "diskReadBytesPerSecond", told: words.aSecond },
  { name: words.DISK_WRITE, field: "diskWriteBytesPerSecond", told: words.aSecond },
];

export class Usage {
  constructor(leaseId, token) {
    this.leaseId = leaseId;
    this.token = token;
    this.timeframe = element("timeframe").value;
    Usage.latest = this;
    element("charts").replaceChildren();
    say("usage-said", "");
  }

  async show() {
    const path = `/lease/${this.leaseId}/usage?timeframe=${this.timeframe}`;
    try {
      const { points } = await service.call("GET", path, { token: this.token });
      if (Usage.latest !== this) return; // somebody chose another time or lease meanwhile
      say("usage-said", points.length ? "" : words.NO_FIGURES);
      element("charts").replaceChildren(...FIGURES.flatMap((figure) => chart(figure, points)));
    } catch (error) {
      if (Usage.latest !== this) return;
      say("usage-said", messageOf(error), { isBad: true });
    }
  }
}

function chart({ name, field, told, total }, points) {
  const known = points.map((point) => point[field]).filter(isKnown);
  if (!known.length) return [];
  const most = Math.max(...known);
  const whole = total?.(points.at(-1));
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  const text = words.used(told(known.at(-1)), told(mean), told(most), whole && told(whole));
  const time = words.between(points[0].beganAt, points.at(-1).endedAt);
  const drawing = shape(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${name} ${time}: ${text}`,
    },
    ...lines(points, field, whole || most || 1).map((line) => shape("path", { d: line })),
  );
  return [make("figure", {}, make("figcaption", {}, make("b", {}, name), ` ${text}`), drawing)];
}

// One step for each point; what is missing or not told of ends a line.
function lines(points, field, most) {
  const start = Date.parse(points[0].beganAt);
  const length = Date.parse(points.at(-1).endedAt) - start || 1;
  const across = (time) => (((Date.parse(time) - start) / length) * WIDTH).toFixed(1);
  const made = [];
  let before = null;
  for (const point of points) {
    if (!isKnown(point[field])) continue;
    const up = (HEIGHT - 1 - Math.min(point[field] / most, 1) * (HEIGHT - 2)).toFixed(1);
    if (before !== point.beganAt) made.push(`M${across(point.beganAt)} ${up}`);
    made[made.length - 1] += `L${across(point.beganAt)} ${up}H${across(point.endedAt)}`;
    before = point.endedAt;
  }
  return made;
}
