/** The words around the timeline: state, figures, alert, transcript, choice of devices. */
import { TURN_MS, clockText } from "./timeline.js";

const PAUSE_MS = 4 * TURN_MS; // Words of one voice that are this far apart are two lines, as `microturn talk` has it.
const MOST_LINES = 500;
const WHO = { heard: "You", said: "Model", typed: "Typed", job: "Job" };

/** @returns {any} the element with this id */
export const element = (id) => document.getElementById(id);

export function showStatus(text, state) {
  element("status").textContent = text;
  element("status").dataset.state = state;
}

export function showAlert(text) {
  element("alert").textContent = text;
}

/** A toggle button: its state, its icon and its name. One whose name tells the state is only shown as ``on``: "Resume, pressed" is no help. */
export function showButton(id, { pressed, on, icon, name, disabled }) {
  const button = element(id);
  if (on !== undefined) button.classList.toggle("on", on);
  if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
  if (icon) button.querySelector("use").setAttribute("href", `#${icon}`);
  if (name) button.querySelector("span").textContent = name;
  if (disabled !== undefined) button.disabled = disabled;
}

/** How the session is connected. */
export function showLine(name) {
  element("figure-line").textContent = name;
}

export function showFigures({ computeMs, delayMs, reactionMs }) {
  const figure = (value, text) => (value === undefined ? "\u2013" : text(value));
  element("figure-compute").textContent = figure(computeMs, (ms) => `${Math.round(ms)} ms`);
  element("figure-delay").textContent = figure(delayMs, (ms) => `${Math.round(ms)} ms`);
  element("figure-reaction").textContent = figure(reactionMs, (ms) => `${(ms / 1000).toFixed(2)} s`);
}

/** Lines of what was heard, said and typed. */
export class Transcript {
  constructor(list) {
    this.list = list;
    this.open = {};
  }

  clear() {
    this.list.replaceChildren();
    this.open = {};
  }

  add(lane, text, ms) {
    const open = this.open[lane];
    if (lane !== "typed" && lane !== "job" && open && ms - open.ms < PAUSE_MS) {
      open.words.textContent += text;
      open.ms = ms;
    } else {
      const row = document.createElement("li");
      const [time, who, words] = ["time", "span", "span"].map((name) => row.appendChild(document.createElement(name)));
      time.textContent = clockText(ms);
      who.textContent = WHO[lane];
      who.className = lane === "said" ? "who model" : "who";
      words.textContent = text.trim();
      this.open[lane] = { words, ms };
      this.list.append(row);
    }
    while (this.list.children.length > MOST_LINES) this.list.firstChild.remove();
    this.list.scrollTop = this.list.scrollHeight;
  }
}

/** Fill the three lists of devices; a list without names says why. */
export async function showDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const lists = { "microphone-choice": "audioinput", "speaker-choice": "audiooutput", "camera-choice": "videoinput" };
  for (const [id, kind] of Object.entries(lists)) {
    const list = element(id);
    const chosen = list.value;
    const found = devices.filter((one) => one.kind === kind && one.deviceId && one.deviceId !== "default");
    const first = new Option(devices.some((one) => one.kind === kind) ? "System's choice" : "None found", "");
    list.replaceChildren(first, ...found.map((one) => new Option(one.label || "Unnamed", one.deviceId)));
    list.value = found.some((one) => one.deviceId === chosen) ? chosen : "";
  }
}

/** Why a device could not be had, in words that say what to do. */
export function deviceTrouble(device, error) {
  const end = "Typing still works.";
  if (error.name === "NotAllowedError") return `The ${device} was refused. Allow it in the address bar and try again. ${end}`;
  if (error.name === "NotFoundError") return `No ${device} was found. ${end}`;
  if (error.name === "NotReadableError") return `The ${device} is in use by another program. ${end}`;
  if (error.name === "OverconstrainedError") return `The chosen ${device} is gone; choose another under Devices. ${end}`;
  if (!navigator.mediaDevices) return `A browser gives a ${device} only over https or at localhost. ${end}`;
  return `The ${device} could not be opened: ${error.message}. ${end}`;
}
