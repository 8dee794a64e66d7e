/** Vega-Lite charts with one mark (bar, line, point) over x and y, as SVG; what is more than that is no chart here. */
import { escape } from "./markup.js";

const WIDTH = 480;
const HEIGHT = 240;
const LEFT = 48;
const BOTTOM = 34;
const TOP = 8;
const RIGHT = 10;
const TICKS = 5;
const MOST_VALUES = 1000;
const MARKS = ["bar", "line", "point"];
const MORE = ["layer", "concat", "hconcat", "vconcat", "facet", "repeat", "transform"];

/** The rows of a specification's data, as far as they lie in it. */
export function valuesOf(spec) {
  const values = spec?.data?.values;
  return Array.isArray(values) ? values.filter((one) => one && typeof one === "object").slice(0, MOST_VALUES) : [];
}

const shown = (value) => (Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toFixed(6)));

/** Where a value lies from ``from`` to ``to``, and the marks of its axis; undefined if it cannot be placed. */
function scaleOf(channel, values, from, to, zero) {
  const raw = values.map((one) => one[channel.field]);
  if (channel.type === "quantitative" || channel.type === "temporal") {
    const isTime = channel.type === "temporal";
    const numbers = raw.map((one) => (isTime ? Date.parse(one) : Number(one)));
    if (!numbers.every(Number.isFinite)) return undefined;
    const low = Math.min(...numbers, ...(zero ? [0] : []));
    const high = Math.max(...numbers, ...(zero ? [0] : []));
    const place = (value) => (high === low ? (from + to) / 2 : from + ((value - low) / (high - low)) * (to - from));
    const rough = (high - low) / TICKS || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
    const steps = Array.from({ length: 2 * TICKS }, (_, i) => Math.ceil(low / step) * step + i * step).filter((one) => one <= high);
    const day = (one) => new Date(one).toISOString().slice(0, 10);
    const ticks = isTime ? [low, high].map((one) => [place(one), day(one)]) : steps.map((one) => [place(one), shown(one)]);
    return { at: numbers.map(place), zero: place(Math.min(Math.max(0, low), high)), ticks, band: 0 };
  }
  const names = [...new Set(raw.map(String))];
  const band = (to - from) / names.length;
  const place = (name) => from + (names.indexOf(String(name)) + 0.5) * band;
  const every = Math.ceil(names.length / 12);
  const ticks = names.filter((_, i) => i % every === 0).map((name) => [place(name), name.slice(0, 12)]);
  return { at: raw.map(place), ticks, band: Math.abs(band) };
}

/** SVG, or undefined if this is more than it can draw. */
export function chartMarkup(spec) {
  const mark = spec?.mark?.type ?? spec?.mark;
  const { x, y } = spec?.encoding ?? {};
  const values = valuesOf(spec);
  if (!MARKS.includes(mark) || MORE.some((one) => one in spec) || !values.length) return undefined;
  if (!x?.field || !y?.field || x.aggregate || y.aggregate || x.bin || y.type !== "quantitative") return undefined;
  const across = scaleOf(x, values, LEFT, WIDTH - RIGHT, false);
  const up = scaleOf(y, values, HEIGHT - BOTTOM, TOP, mark === "bar");
  if (!across || !up) return undefined;
  const points = values.map((_, i) => [across.at[i], up.at[i]]);
  const thick = across.band ? 0.7 * across.band : Math.max(1, (0.6 * (WIDTH - LEFT)) / values.length);
  const n = (value) => value.toFixed(1);
  const drawn = {
    bar: () => points.map(([px, py]) =>
      `<rect x="${n(px - thick / 2)}" y="${n(Math.min(py, up.zero))}" width="${n(thick)}" height="${n(Math.abs(up.zero - py))}"/>`),
    line: () => [`<polyline fill="none" stroke="currentColor" stroke-width="2" points="${points.map((one) => one.map(n).join()).join(" ")}"/>`],
    point: () => points.map(([px, py]) => `<circle cx="${n(px)}" cy="${n(py)}" r="3.5"/>`),
  }[mark]();
  const lines = up.ticks.map(([py, text]) =>
    `<path class="grid" d="M${LEFT} ${n(py)}H${WIDTH - RIGHT}"/><text x="${LEFT - 6}" y="${n(py + 4)}" text-anchor="end">${escape(text)}</text>`);
  const feet = across.ticks.map(([px, text]) => `<text x="${n(px)}" y="${HEIGHT - BOTTOM + 15}" text-anchor="middle">${escape(text)}</text>`);
  const titles = `<text x="${(LEFT + WIDTH) / 2}" y="${HEIGHT - 3}" text-anchor="middle">${escape(x.title ?? x.field)}</text>`;
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">${lines.join("")}${feet.join("")}${titles}` +
    `<g class="marks" fill="currentColor">${drawn.join("")}</g></svg><p>${escape(y.title ?? y.field)}</p>`;
}
