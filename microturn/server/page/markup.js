/** Results of jobs as markup that is ours: whatever they hold is text, and links lead nowhere. */

const MOST_ROWS = 200;
const MOST_COLUMNS = 20;
const MOST_INLINE = 4000; // A longer block is plain: looking for its marks takes time with the square of its length.

export const escape = (text) => String(text).replace(/[&<>"'`]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** @param {{columns: string[], rows: any[][]}} table */
export function tableMarkup({ columns, rows }) {
  const line = (cells, tag) => `<tr>${cells.slice(0, MOST_COLUMNS).map((cell) => `<${tag}>${escape(cell ?? "")}</${tag}>`).join("")}</tr>`;
  const body = rows.slice(0, MOST_ROWS).map((row) => line(row, "td")).join("");
  const more = rows.length > MOST_ROWS ? `<p>${rows.length - MOST_ROWS} more rows</p>` : "";
  return `<table><thead>${line(columns, "th")}</thead><tbody>${body}</tbody></table>${more}`;
}

/** Code, strong, emphasis; of links and pictures the words. */
function inline(text) {
  if (text.length > MOST_INLINE) return escape(text);
  return text.split(/(`[^`]+`)/).map((part) => {
    if (/^`[^`]+`$/.test(part)) return `<code>${escape(part.slice(1, -1))}</code>`;
    return escape(part.replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1"))
      .replace(/\*\*(\S|\S.*?\S)\*\*/g, "<strong>$1</strong>")
      .replace(/(?<![\w*])[*_](\S|\S.*?\S)[*_](?![\w*])/g, "<em>$1</em>");
  }).join("");
}

const cellsOf = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
const isItem = (line) => /^\s*(?:[-*+]|\d+[.)])\s+/.test(line);

/** Markdown: headings, paragraphs, lists, quotes, code, tables. */
export function markdownMarkup(text) {
  const lines = text.split(/\r?\n/);
  const out = [];
  const while_ = (belongs) => {
    const taken = [];
    while (lines.length && belongs(lines[0])) taken.push(lines.shift());
    return taken;
  };
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (!line.trim()) {
      lines.shift();
    } else if (/^```/.test(line)) {
      lines.shift();
      out.push(`<pre>${escape(while_((one) => !/^```/.test(one)).join("\n"))}</pre>`);
      lines.shift();
    } else if (heading) {
      lines.shift();
      out.push(`<h${heading[1].length}>${inline(heading[2])}</h${heading[1].length}>`);
    } else if (isItem(line)) {
      const kind = /^\s*\d/.test(line) ? "ol" : "ul";
      const items = while_(isItem).map((one) => `<li>${inline(one.replace(/^\s*(?:[-*+]|\d+[.)])\s+/, ""))}</li>`);
      out.push(`<${kind}>${items.join("")}</${kind}>`);
    } else if (/^>/.test(line)) {
      out.push(`<blockquote>${inline(while_((one) => /^>/.test(one)).map((one) => one.replace(/^>\s?/, "")).join(" "))}</blockquote>`);
    } else if (/^\s*\|.*\|/.test(line) && /^[\s|:-]+$/.test(lines[1] ?? "")) {
      const [head, , ...rows] = while_((one) => one.includes("|")).map(cellsOf);
      out.push(tableMarkup({ columns: head, rows }));
    } else {
      const words = [lines.shift(), ...while_((one) => one.trim() && !/^(#|```|>)/.test(one) && !isItem(one))];
      out.push(`<p>${inline(words.join(" "))}</p>`);
    }
  }
  return out.join("");
}
