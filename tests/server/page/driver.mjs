// Chromium for the tests: reads one JSON command a line, answers with one JSON line. Started by browser.py.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const [folder, chromium] = process.argv.slice(2);
const playwright = createRequire(`${folder}/`)("playwright-core");
let browser;
let context;
let page;
const problems = [];

const commands = {
  async open({ url, args, options, permissions, before }) {
    browser = await playwright.chromium.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu", ...args] });
    context = await browser.newContext({ ...options, permissions });
    page = await context.newPage();
    if (before) await page.addInitScript(before);
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    await page.goto(url);
  },
  click: ({ selector }) => page.click(selector),
  type: ({ selector, text }) => page.fill(selector, text),
  press: ({ key }) => page.keyboard.press(key),
  evaluate: ({ script }) => page.evaluate(script),
  // Not waitForFunction: it evaluates a string within the page, which the page's policy rightly refuses.
  until: async ({ script, timeout_ms: timeoutMs }) => {
    const deadline = Date.now() + timeoutMs;
    while (!(await page.evaluate(script))) {
      if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${script}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  },
  screenshot: ({ path }) => page.screenshot({ path }).then(() => true),
  download: async ({ selector, path }) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
    await download.saveAs(path);
    return download.suggestedFilename();
  },
  accessibility: () => page.locator("body").ariaSnapshot(),
  reload: () => page.reload().then(() => true),
  problems: () => problems,
  close: () => browser?.close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await commands[command](rest)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
  if (command === "close") process.exit();
}
