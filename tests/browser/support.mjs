/* SPDX-License-Identifier: MIT */
/* support: a browser for the tests, pages that report what went wrong in them, screenshots, and short names for the widget's parts. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync"];

/* A browser with a profile of its own that goes when it is closed. */
export function launchBrowser() {
	return chromium.launch({ executablePath: process.env.PARLEY_CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ARGS });
}

/*
 * A page in a context of its own (or in the given one). page.troubles lists script errors, console errors, dialogs and violations
 * of the Content-Security-Policy; failed requests that a test provokes are not among them.
 */
export async function openPage(browser, url, { context, ...options } = {}) {
	const page = await (context ?? (await browser.newContext(options))).newPage();
	page.setDefaultTimeout(15000);
	page.troubles = [];
	page.on("pageerror", (error) => page.troubles.push(`error: ${error.message}`));
	page.on("console", (m) => m.type() === "error" && !m.text().startsWith("Failed to load resource") && page.troubles.push(m.text()));
	page.on("dialog", (dialog) => {
		page.troubles.push(`dialog: ${dialog.message()}`);
		dialog.dismiss();
	});
	await page.addInitScript(() => {
		window.events = [];
		for (const name of ["parley-message", "parley-session", "parley-error"])
			window.addEventListener(name, ({ detail, target }) => window.events.push({ name, detail: structuredClone({ ...detail }), on: target.getAttribute("name") }));
		document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
	});
	await page.goto(url);
	return page;
}

/* Saves a screenshot when PARLEY_SHOTS names a directory. */
export async function shoot(page, name, options = {}) {
	if (!process.env.PARLEY_SHOTS)
		return;
	await mkdir(process.env.PARLEY_SHOTS, { recursive: true });
	await page.screenshot({ path: join(process.env.PARLEY_SHOTS, `${name}.png`), ...options });
}

/* The parts of one widget. */
export class Widget {
	constructor(page, selector = "parley-chat") {
		this.page = page;
		this.host = page.locator(selector);
		this.input = this.host.locator("textarea");
		this.send = this.host.locator(".send");
		this.stop = this.host.locator(".stop");
		this.log = this.host.locator(".log");
		this.bubbles = this.host.locator(".message .text");
		this.user = this.host.locator(".message.user .text");
		this.growing = this.host.locator(".message.assistant.streaming .text");
		this.stopped = this.host.locator(".message.stopped");
		this.notes = this.host.locator(".note:visible");
		this.answers = this.host.locator(".message.assistant.done .text");
		this.alert = this.host.locator(".alert");
		this.retry = this.host.locator(".retry");
		this.fresh = this.host.locator("header .icon").nth(0);
		this.clear = this.host.locator("header .icon").nth(1);
	}

	async say(text) {
		await this.input.fill(text);
		await this.input.press("Enter");
	}

	/* Says it and waits until so many answers are complete. */
	async ask(text, answers) {
		await this.say(text);
		await this.answered(answers);
	}

	answered(n) {
		return this.answers.nth(n - 1).waitFor();
	}

	texts() {
		return this.bubbles.evaluateAll((list) => list.map((e) => e.textContent));
	}

	session() {
		return this.host.evaluate((e) => e.getSession());
	}
}

export const CHAT = "<parley-chat key=\"pk_north\" agent=\"guide\" heading=\"Trail guide\"></parley-chat>";

/* The first widget of a page of the mock server that holds this markup. With hurry, all waiting in it is twenty times shorter. */
export async function openWidget(browser, mock, markup = CHAT, { hurry = false, ...options } = {}) {
	mock.extraPages.set("/page.html", `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
		<title>page</title><script type="module" src="/parley-chat.js"></script>${markup}</html>`);
	const context = await browser.newContext(options);
	if (hurry)
		await context.addInitScript(() => {
			const original = window.setTimeout;
			window.setTimeout = (work, ms, ...rest) => original(work, ms / 20, ...rest);
		});
	const widget = new Widget(await openPage(browser, `${mock.url}/page.html`, { context }), "parley-chat >> nth=0");
	await widget.input.waitFor();
	return widget;
}
