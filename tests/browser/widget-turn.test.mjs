/* SPDX-License-Identifier: MIT */
/* widget-turn.test: answers in the widget as they come: stopped, cut off, with tools, after a reload, in two tabs. (UI-3 UI-4 UI-8 TRN-4 TRN-5 TRN-6) */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { STRINGS } from "../../htdocs/parley-chat-strings.js";
import { MockServer } from "./mock-server.mjs";
import { Widget, launchBrowser, openPage, openWidget, shoot } from "./support.mjs";

let browser;
let mock;
let page;

before(async () => {
	browser = await launchBrowser();
});
after(() => browser?.close());
beforeEach(async () => {
	mock = await new MockServer().listen();
});
afterEach(async () => {
	const troubles = page?.troubles ?? [];
	await page?.context().close();
	page = null;
	await mock.close();
	assert.deepEqual(troubles, []);
});

async function open(markup, options) {
	const widget = await openWidget(browser, mock, markup, options);
	page = widget.page;
	return widget;
}

/* A second tab on the same page. */
async function openTab() {
	const tab = await openPage(browser, `${mock.url}/page.html`, { context: page.context() });
	const widget = new Widget(tab);
	await widget.input.waitFor();
	return widget;
}

/* Whether the widget ever said that it has no connection, from now on. */
const watchStatus = (w) => w.host.evaluate((e) => {
	const status = e.shadowRoot.querySelector(".status");
	window.hadTrouble = false;
	new MutationObserver(() => (window.hadTrouble ||= status.classList.contains("trouble"))).observe(status, { attributes: true });
});

const STORY = "!slow a b c d e f g h i j k l m n o p";

test("a stream cut again and again heals without a sign of it", async () => {
	const w = await open();
	await w.ask("hello", 1);
	await watchStatus(w);
	await w.ask(`!cut ${STORY}`, 2);
	assert.equal(mock.requests.filter((rq) => rq.path.endsWith("/stream")).length, 3);
	assert.deepEqual((await w.texts()).slice(2), [`!cut ${STORY}`, `You said: !cut ${STORY}`]);
	assert.equal(await page.evaluate(() => window.hadTrouble), false);
	assert.equal(await w.alert.textContent(), "");
	assert.deepEqual((await page.evaluate(() => window.events)).filter((e) => e.name === "parley-error"), []);
});

test("stop: the button stands in for send while an answer comes, and what came stays", async () => {
	const w = await open();
	assert.equal(await w.stop.isHidden(), true);
	await w.say(STORY);
	await w.growing.filter({ hasText: "slow a" }).waitFor();
	assert.deepEqual([await w.stop.isVisible(), await w.send.isVisible()], [true, false]);
	await w.input.fill("next");
	assert.deepEqual([await w.stop.isVisible(), await w.send.isVisible()], [true, true], "what is typed can be sent");
	await w.input.fill("");
	await page.waitForTimeout(300);
	await shoot(page, "widget-stop");
	await w.stop.focus();
	await w.stop.press("Enter");
	await w.stopped.waitFor();
	assert.equal(await w.host.evaluate((e) => e.shadowRoot.activeElement.tagName), "TEXTAREA", "the focus does not go with the button");
	assert.deepEqual([await w.stop.isVisible(), await w.send.isVisible()], [false, true]);
	assert.deepEqual(await w.notes.allTextContents(), [STRINGS.en.stopped]);
	await shoot(page, "widget-stopped");
	const texts = await w.texts();
	assert.deepEqual(mock.lastSession.messages.map((m) => [m.content, m.incomplete ?? false]), [[texts[0], false], [texts[1], true]]);
	assert.ok(texts[1].length < STORY.length);
	await page.waitForTimeout(400);
	await page.reload();
	await w.stopped.waitFor();
	assert.deepEqual(await w.texts(), texts);
	assert.deepEqual(await w.notes.allTextContents(), [STRINGS.en.stopped]);
	await w.ask("and on", 1);
	assert.equal(mock.lastSession.messages.length, 4);
});

test("Escape stops too, from anywhere in the widget, but first closes a question", async () => {
	const w = await open();
	await w.say(`${STORY} !deaf`);
	await w.growing.filter({ hasText: "slow a" }).waitFor();
	await w.clear.click();
	await page.keyboard.press("Escape");
	assert.equal(await w.host.locator(".confirm").isHidden(), true);
	assert.equal(mock.posts(/cancel$/).length, 0);
	await w.input.dispatchEvent("keydown", { key: "Escape", isComposing: true, bubbles: true, composed: true });
	await w.log.focus();
	await page.keyboard.press("Escape");
	await w.host.locator(".stop[aria-disabled=true]").waitFor(); /* it is seen to be at work */
	await page.keyboard.press("Escape");
	await w.stopped.waitFor();
	assert.equal(mock.posts(/cancel$/).length, 2, "one that the server was too busy for, and its repetition");
	assert.equal(await w.alert.textContent(), "");
	await page.keyboard.press("Escape");
	assert.equal(mock.posts(/cancel$/).length, 2);
});

test("a stop before the first word leaves the question and says so", async () => {
	const w = await open();
	await w.say("!think about it");
	await w.stop.waitFor();
	await w.input.press("Escape");
	await w.stopped.waitFor();
	assert.deepEqual(await w.texts(), ["!think about it"]);
	assert.deepEqual(await w.notes.allTextContents(), [STRINGS.en.stopped]);
	assert.equal(await w.retry.count(), 0);
});

test("a click on send that is doubled does not stop what it has sent", async () => {
	const w = await open();
	await w.input.fill(STORY);
	await w.send.click();
	await w.stop.waitFor();
	await w.stop.click();
	await w.answered(1);
	assert.equal(mock.posts(/cancel$/).length, 0);
});

test("tools are at work: a small line says so, and nothing shows what they were asked or found", async () => {
	const w = await open();
	await w.say("please !tools !slow look");
	await w.notes.filter({ hasText: STRINGS.en.looking }).waitFor();
	assert.deepEqual(await w.texts(), ["please !tools !slow look", "Let me see what there is.", `${STRINGS.en.answering}`]);
	await shoot(page, "widget-looking");
	const html = () => w.host.evaluate((e) => e.shadowRoot.innerHTML);
	assert.doesNotMatch(await html(), /look_up|secret/);
	await page.reload();
	await w.notes.filter({ hasText: STRINGS.en.looking }).waitFor();
	await w.answered(2);
	const texts = ["please !tools !slow look", "Let me see what there is.", "You said: please !tools !slow look"];
	assert.deepEqual(await w.texts(), texts);
	assert.equal(await w.notes.count(), 0);
	await page.reload();
	await w.answered(2);
	assert.deepEqual(await w.texts(), texts);
	assert.doesNotMatch(await html(), /look_up|secret/);
	assert.deepEqual(mock.lastSession.messages.map((m) => m.role), ["user", "assistant", "tool", "assistant", "tool", "assistant"]);
});

test("a reload in the middle goes on with the answer from its beginning, by its stream", async () => {
	const w = await open();
	await w.ask("hello", 1);
	await w.say(STORY);
	for (const word of ["slow a b", "e f", "i j"]) {
		await w.growing.filter({ hasText: word }).waitFor();
		await page.reload();
	}
	await w.answered(2);
	assert.deepEqual(await w.texts(), ["hello", "You said: hello", STORY, `You said: ${STORY}`]);
	assert.deepEqual((await w.texts()).slice(-1), mock.lastSession.messages.slice(-1).map((m) => m.content));
	assert.equal(mock.requests.some((rq) => /\/turns\/\w+$/.test(rq.path)), false, "nothing asks again and again");
	assert.equal(mock.requests.filter((rq) => rq.query.get("status") === "running").length, 3);
});

test("a second tab follows the answer, stops it for both, and its own message waits for its turn", async () => {
	const one = await open();
	await one.ask("hello", 1);
	const two = await openTab();
	await two.answered(1);
	await one.say(STORY);
	await two.growing.filter({ hasText: "slow a" }).waitFor();
	await two.say("from two");
	await two.notes.filter({ hasText: STRINGS.en.waiting }).waitFor();
	await shoot(two.page, "widget-second-tab");
	await two.stop.click({ delay: 20 });
	if ((await two.stopped.count()) === 0) {
		await two.page.waitForTimeout(700);
		await two.stop.click();
	}
	await Promise.all([one.stopped.waitFor(), two.stopped.waitFor()]);
	await Promise.all([one.answered(2), two.answered(2)]);
	assert.deepEqual(await one.texts(), await two.texts());
	assert.deepEqual((await one.texts()).slice(-2), ["from two", "You said: from two"]);
	assert.deepEqual(await one.texts(), mock.lastSession.messages.map((m) => m.content));
	assert.deepEqual(two.page.troubles, []);
});

test("two tabs that send in the same moment: one message waits in line at the server", async () => {
	const one = await open();
	await one.ask("hello", 1);
	const two = await openTab();
	await two.answered(1);
	await Promise.all([one.say("!slow from one a b c"), two.say("!slow from two a b c")]);
	await Promise.all([one.answered(3), two.answered(3)]);
	assert.deepEqual(await one.texts(), await two.texts());
	assert.deepEqual(await one.texts(), mock.lastSession.messages.map((m) => m.content));
	assert.deepEqual(mock.posts(/turns$/).map((rq) => rq.body.on_busy), ["queue", "queue"]);
});
