/**
 * What jobs show, each on a card beside the timeline: in a frame without scripts, without network and without access to
 * this page. What is in it was written anew here from the result's text.
 */
import { chartMarkup, valuesOf } from "./chart.js";
import { escape, markdownMarkup, tableMarkup } from "./markup.js";
import { clockText } from "./timeline.js";

const MOST_CARDS = 24;
const MOST_NODES = 2000;
const MOST_FRAGMENT = 16_000; // Characters: parsing takes time with the square of how deep elements are nested.
const ALLOWED = new Set(["H1", "H2", "H3", "H4", "H5", "H6", "P", "UL", "OL", "LI", "DL", "DT", "DD", "TABLE", "THEAD", "TBODY", "TR",
  "TH", "TD", "CAPTION", "B", "I", "EM", "STRONG", "CODE", "PRE", "BR", "HR", "BLOCKQUOTE", "SPAN", "DIV", "SMALL", "SUB", "SUP"]);
const DROPPED = new Set(["SCRIPT", "STYLE", "TEMPLATE", "IFRAME", "OBJECT", "NOSCRIPT", "TEXTAREA", "TITLE", "SVG", "MATH"]);
// The page's policy names this text by its hash (server/access.py): no other style is applied.
const STYLE = `
:root { color-scheme: light dark; font: 14px/1.45 system-ui, sans-serif; }
body { margin: 10px 12px; overflow-wrap: anywhere; }
h1, h2, h3, h4, h5, h6 { font-size: 15px; margin: 8px 0 4px; }
p, ul, ol, pre, table, blockquote { margin: 4px 0; }
pre { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 3px 8px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid rgb(128 128 128 / 0.3); }
svg { width: 100%; color: #c2410c; }
svg text { font-size: 11px; fill: CanvasText; }
svg .grid { stroke: rgb(128 128 128 / 0.3); }
`;

/** A fragment of HTML as the elements that may be here, without any of their attributes; what is in others is text. */
export function cleanMarkup(fragment) {
  let left = MOST_NODES;
  const clean = (node) => {
    if (left-- <= 0) return "";
    if (node.nodeType === Node.TEXT_NODE) return escape(node.data);
    if (node.nodeType !== Node.ELEMENT_NODE || DROPPED.has(node.nodeName.toUpperCase())) return "";
    const inner = [...node.childNodes].map(clean).join("");
    if (!ALLOWED.has(node.nodeName)) return inner;
    const tag = node.nodeName.toLowerCase();
    return tag === "br" || tag === "hr" ? `<${tag}>` : `<${tag}>${inner}</${tag}>`;
  };
  return [...new DOMParser().parseFromString(fragment.slice(0, MOST_FRAGMENT), "text/html").body.childNodes].map(clean).join("");
}

function markupOf(result) {
  switch (result.type) {
    case "markdown":
      return markdownMarkup(result.text);
    case "table":
      return tableMarkup(result);
    case "html":
      return cleanMarkup(result.fragment);
    case "vega-lite": {
      const rows = valuesOf(result.spec);
      const columns = [...new Set(rows.flatMap(Object.keys))];
      const table = { columns, rows: rows.map((row) => columns.map((one) => row[one])) };
      return chartMarkup(result.spec) ?? `<p>This chart cannot be drawn here; its data:</p>${tableMarkup(table)}`;
    }
  }
  return "";
}

/** @returns {string} a document that needs nothing from anywhere */
function documentOf(markup) {
  const policy = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`;
  return `<!doctype html><meta charset="utf-8">${policy}<style>${STYLE}</style><body>${markup}</body>`;
}

export class Cards {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.list = place.querySelector("ol");
  }

  clear() {
    this.list.replaceChildren();
    this.place.hidden = true;
  }

  /** @param {{type: string, title: string}} result what a job shows @param {string} task what it was asked for */
  add(result, task, ms) {
    const card = document.createElement("li");
    const [title, about] = ["h3", "p"].map((name) => card.appendChild(document.createElement(name)));
    title.textContent = result.title || task;
    about.textContent = `${clockText(ms)} ${task}`;
    const frame = document.createElement("iframe");
    frame.setAttribute("sandbox", "");
    frame.title = title.textContent;
    frame.srcdoc = documentOf(markupOf(result));
    card.append(frame);
    this.list.prepend(card);
    while (this.list.children.length > MOST_CARDS) this.list.lastChild.remove();
    this.place.hidden = false;
  }
}
