// The plot of docs/SCALING.md: registrations a second and the server's CPU for one, against the clients that are on. An SVG that can be
// read on a light and on a dark page.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const FILE = join(import.meta.dirname, "../../docs/growth.svg");
const SIZE = { width: 640, height: 320 };
const FRAME = { left: 64, right: 64, top: 40, bottom: 48 };
const TICKS = 4;
const LABEL_GAP = 8;

/** The next number up that is 1, 2, 2.5 or 5 times a power of ten and `TICKS` of it are enough for `max`. */
function stepFor(max) {
  const least = max / TICKS;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= least);
}

const number = (value) => Math.round(value).toLocaleString("en-US");

/** @param points [{on, rate, cpuUs}], in the order of `on` */
function plot(points) {
  const width = SIZE.width - FRAME.left - FRAME.right;
  const height = SIZE.height - FRAME.top - FRAME.bottom;
  const bottom = FRAME.top + height;
  const right = FRAME.left + width;
  const most = points.at(-1).on;
  const x = (on) => FRAME.left + (on / most) * width;
  const steps = {
    rate: stepFor(Math.max(...points.map(({ rate }) => rate))),
    cpuUs: stepFor(Math.max(...points.map(({ cpuUs }) => cpuUs))),
  };
  const y = (field, value) => bottom - (value / (steps[field] * TICKS)) * height;
  const parts = [];
  for (let i = 0; i <= TICKS; i++) {
    const at = bottom - (i / TICKS) * height;
    parts.push(
      `<path class="grid" d="M${FRAME.left} ${at}H${right}"/>`,
      `<text class="rate" x="${FRAME.left - LABEL_GAP}" y="${at}" text-anchor="end" dominant-baseline="middle">${number(steps.rate * i)}</text>`,
      `<text class="cpuUs" x="${right + LABEL_GAP}" y="${at}" dominant-baseline="middle">${number(steps.cpuUs * i)}</text>`,
    );
  }
  for (const { on } of points) {
    if (on !== 0 && on < most / 20) continue; // its label would lie on that of 0
    parts.push(`<text x="${x(on)}" y="${bottom + 20}" text-anchor="middle">${number(on)}</text>`);
  }
  for (const field of ["rate", "cpuUs"]) {
    const places = points.map((point) => [x(point.on), y(field, point[field])].map((place) => place.toFixed(1)));
    parts.push(`<path class="line ${field}" d="M${places.map(([px, py]) => `${px} ${py}`).join("L")}"/>`);
    for (const [px, py] of places) parts.push(`<circle class="${field}" cx="${px}" cy="${py}" r="3.5"/>`);
  }
  parts.push(
    `<text class="rate" x="${FRAME.left}" y="20" text-anchor="start">registrations a second</text>`,
    `<text class="cpuUs" x="${right}" y="20" text-anchor="end">CPU of the server for one, µs</text>`,
    `<text x="${FRAME.left + width / 2}" y="${SIZE.height - 8}" text-anchor="middle">clients on, each watching its own interests</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" role="img">
<title>Registrations a second, and CPU for one, against clients on</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.line { fill: none; stroke-width: 2; }
path.rate { stroke: #0969da; } text.rate, circle.rate { fill: #0969da; }
path.cpuUs { stroke: #bc4c00; } text.cpuUs, circle.cpuUs { fill: #bc4c00; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.grid { stroke: #3d444d; }
path.rate { stroke: #58a6ff; } text.rate, circle.rate { fill: #58a6ff; }
path.cpuUs { stroke: #f0883e; } text.cpuUs, circle.cpuUs { fill: #f0883e; }
}
</style>
${parts.join("\n")}
</svg>
`;
}

export const writePlot = (points) => writeFileSync(FILE, plot(points));
