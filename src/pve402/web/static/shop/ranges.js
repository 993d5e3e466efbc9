// A slider over values that people choose, beside a field for every value in between.

import { element } from "./dom.js";
import * as words from "./words.js";

const MINUTES = [
  1, 2, 5, 10, 15, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440, 2880, 4320, 10080, 20160, 43200,
  129600, 259200, 525600,
];
const MOST_SINGLE_STEPS = 32;

export function stops(kind, { min, max }) {
  if (kind === "minutes") return within(MINUTES, min, max);
  if (max - min < MOST_SINGLE_STEPS) return Array.from({ length: max - min + 1 }, (_, i) => min + i);
  const doubled = [];
  for (let value = 1; value < max; value *= 2) doubled.push(value, value * 1.5);
  return within(doubled.filter(Number.isInteger), min, max);
}

const within = (values, min, max) =>
  [...new Set([min, ...values.filter((value) => value > min && value < max), max])];

// The slider and the number field of one value, kept in step; `changed` hears of every change.
export class Range {
  constructor(kind, changed) {
    this.kind = kind;
    this.slider = element(`${kind}-slider`);
    this.field = element(kind);
    this.slider.oninput = () => {
      this.field.value = this.stops[this.slider.value];
      this.show();
      changed();
    };
    this.field.oninput = () => {
      this.show();
      changed();
    };
  }

  // Takes new bounds, and keeps the value if it is within them.
  bound({ min, max }, usual) {
    this.stops = stops(this.kind, { min, max });
    this.slider.max = this.stops.length - 1;
    this.field.min = min;
    this.field.max = max;
    const wanted = Number(this.field.value) || usual;
    this.field.value = Math.min(Math.max(wanted, min), max);
    this.show();
  }

  get value() {
    return Number(this.field.value);
  }

  show() {
    const said = words.amountOf(this.kind, this.value);
    this.slider.value = nearest(this.stops, this.value);
    this.slider.setAttribute("aria-valuetext", said);
    element(`${this.kind}-said`).textContent = said;
  }
}

function nearest(values, value) {
  const index = values.findIndex((stop) => stop >= value);
  return index < 0 ? values.length - 1 : index;
}
