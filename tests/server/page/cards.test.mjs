// What jobs bring, as markup: whatever they hold is text.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chartMarkup } from "./chart.js";
import { markdownMarkup, tableMarkup } from "./markup.js";
import { Timeline } from "./timeline.js";

const HOSTILE = `<script>alert(1)</script><img src=x onerror="alert(1)">`;

test("markdown becomes the elements that it names, and nothing else", () => {
  const text = "# A *b*\n\nSome `code <b>` and **strong**\nwords.\n\n- one\n- two\n\n1. three\n\n> said\n\n```\n<pre>\n```\n| a | b |\n|---|---|\n| 1 | 2 |";
  assert.equal(markdownMarkup(text),
    "<h1>A <em>b</em></h1><p>Some <code>code &#60;b&#62;</code> and <strong>strong</strong> words.</p>" +
    "<ul><li>one</li><li>two</li></ul><ol><li>three</li></ol><blockquote>said</blockquote><pre>&#60;pre&#62;</pre>" +
    "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>");
  assert.equal(markdownMarkup("[words](javascript:alert(1)) ![seen](http://evil.example/x.png)"), "<p>words) seen</p>");
});

test("whatever is hostile stays text", () => {
  const spec = {
    mark: "bar", data: { values: [{ [HOSTILE]: HOSTILE, n: 1 }] },
    encoding: { x: { field: HOSTILE, type: "nominal", title: HOSTILE }, y: { field: "n", type: "quantitative", title: HOSTILE } },
  };
  for (const markup of [markdownMarkup(HOSTILE), markdownMarkup(`**${HOSTILE}**\n- ${HOSTILE}\n\`${HOSTILE}\``),
    tableMarkup({ columns: [HOSTILE], rows: [[HOSTILE]] }), chartMarkup(spec)]) {
    assert.ok(!/<(script|img)/i.test(markup), markup);
    assert.ok(markup.includes("&#60;"), markup);
  }
});

test("markdown of any kind ends", () => {
  for (const piece of ["#", "```", "> ", "- ", "1. ", "|", "| a |\n", "*", "`", "[", "\n", " "]) {
    assert.equal(typeof markdownMarkup(piece.repeat(5000)), "string");
  }
});

test("a table shows so many rows and says how many more there are", () => {
  const markup = tableMarkup({ columns: ["n"], rows: Array.from({ length: 250 }, (_, i) => [i]) });
  assert.equal(markup.match(/<td>/g).length, 200);
  assert.ok(markup.endsWith("<p>50 more rows</p>"));
});

const days = { field: "day", type: "ordinal" };
const sales = { field: "n", type: "quantitative" };
const values = [{ day: "Mo", n: 2 }, { day: "Tu", n: 4 }, { day: "We", n: -1 }];

test("bars stand on zero, lines and points lie on their values", () => {
  const bars = chartMarkup({ mark: { type: "bar" }, data: { values }, encoding: { x: days, y: sales } });
  const [two, four, less] = [...bars.matchAll(/<rect [^>]*y="([\d.]+)"[^>]*height="([\d.]+)"/g)].map((one) => one.slice(1).map(Number));
  assert.ok(Math.abs(four[1] - 2 * two[1]) < 0.2 && Math.abs(less[1] - two[1] / 2) < 0.2);
  assert.ok(Math.abs(two[0] + two[1] - less[0]) < 0.2);
  const line = chartMarkup({ mark: "line", data: { values: [{ a: 0, n: 1 }, { a: 10, n: 3 }] }, encoding: { x: { field: "a", type: "quantitative" }, y: sales } });
  assert.match(line, /points="48.0,206.0 470.0,8.0"/);
  const time = [{ t: "2026-01-01", n: 1 }, { t: "2026-01-03", n: 2 }, { t: "2026-01-02", n: 3 }];
  const points = chartMarkup({ mark: "point", data: { values: time }, encoding: { x: { field: "t", type: "temporal" }, y: sales } });
  assert.deepEqual([...points.matchAll(/cx="([\d.]+)"/g)].map((one) => Number(one[1])), [48, 470, 259]);
  assert.ok(points.includes(">2026-01-03<"));
  const large = [{ day: "Mo", n: 1 }, { day: "Tu", n: 1e17 }]; // No date is so far away.
  assert.ok(chartMarkup({ mark: "bar", data: { values: large }, encoding: { x: days, y: sales } }).includes(">1.0e+17<"));
});

test("what is more than a simple chart is none", () => {
  const encoding = { x: days, y: sales };
  for (const spec of [undefined, {}, { mark: "arc", data: { values }, encoding }, { mark: "bar", data: { url: "http://x" }, encoding },
    { mark: "bar", data: { values }, encoding: { x: days, y: { ...sales, aggregate: "sum" } } },
    { mark: "bar", data: { values }, encoding: { x: sales, y: days } }, { mark: "bar", layer: [], data: { values }, encoding },
    { mark: "line", data: { values: [{ day: "Mo", n: "x" }] }, encoding }]) assert.equal(chartMarkup(spec), undefined);
});

test("jobs that run at once lie on levels of their own, and end", () => {
  const timeline = new Timeline((text) => 8 * text.length, 0.1);
  const set = (id, state, ms) => timeline.setJob({ job_id: id, state, task: id, offset_ms: ms });
  set("a", "running", 0);
  set("b", "running", 200);
  set("a", "done", 400);
  set("c", "running", 600);
  set("nobody", "failed", 700);
  assert.deepEqual([...timeline.jobs.values()].map((one) => [one.task, one.level, one.toMs, one.state]),
    [["a", 0, 400, "done"], ["b", 1, undefined, "running"], ["c", 0, undefined, "running"]]);
});
