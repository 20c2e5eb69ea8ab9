/* SPDX-License-Identifier: MIT */
/*
 * demo.test: the demo page in a real browser. Against the mock server, or with PARLEY_BASE_URL against a real one whose
 * demo/config.json names two sites with agents that answer with what they heard. (UI-1 UI-2 UI-3 UI-6 SIT-3)
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { MockServer } from "./mock-server.mjs";
import { Widget, launchBrowser, openPage, shoot } from "./support.mjs";

let mock;
let browser;
let base;
let sites;

before(async () => {
	mock = process.env.PARLEY_BASE_URL ? null : await new MockServer().listen();
	base = (process.env.PARLEY_BASE_URL ?? mock.url).replace(/\/+$/, "");
	sites = (await (await fetch(`${base}/demo/config.json`)).json()).sites;
	browser = await launchBrowser();
});
after(async () => {
	await browser?.close();
	await mock?.close();
});

async function open(options) {
	const page = await openPage(browser, `${base}/demo/`, options);
	const widgets = sites.map((site) => new Widget(page, `.site[data-site="${site.name}"] parley-chat`));
	await widgets[0].input.waitFor();
	return { page, widgets, first: widgets[0], second: widgets[1] };
}

async function close(page) {
	assert.deepEqual(page.troubles, []);
	await page.context().close();
}

/* Markup that acts when it is parsed as HTML anywhere. */
const HOSTILE = [
	"<img src=x onerror=\"window.hit=1\">", "<script>window.hit=1</script>", "<svg onload=window.hit=1>", "<svg><script>window.hit=1</script></svg>",
	"<iframe srcdoc=\"<script>parent.hit=1</script>\"></iframe>", "\"><img src=x onerror=window.hit=1>", "<a href=\"javascript:window.hit=1\">x</a>",
	"javascript:window.hit=1", "<style>*{display:none}</style>", "<math><mtext><img src=x onerror=window.hit=1>", "</textarea><img src=x onerror=window.hit=1>",
	"<template><img src=x onerror=window.hit=1></template>", "<details open ontoggle=window.hit=1>", "<body onload=window.hit=1>", "&lt;b&gt; &amp; &#60;b&#62;",
	"<!-- --><b>bold</b>", "<parley-chat key=x agent=y></parley-chat>", "[x](javascript:window.hit=1)", "${window.hit=1}{{window.hit=1}}", "<slot name=x></slot>",
];

async function naughtyStrings() {
	const shared = process.env.PARLEY_SHARED ?? fileURLToPath(new URL("../../../shared", import.meta.url));
	const list = await readFile(join(shared, "data/naughty-strings/blns.json"), "utf8").then(JSON.parse, () => []);
	return list.filter((s) => s.trim() !== "" && !/[\0\r]/.test(s) && isWellFormed(s));
}

/* Whether no surrogate stands alone: such a string cannot be sent as UTF-8. */
function isWellFormed(s) {
	return Buffer.from(s, "utf8").toString("utf8") === s;
}

test("the page shows both widgets under its strict policy", async () => {
	const { page, widgets } = await open();
	assert.equal(sites.length >= 2, true);
	for (const [i, widget] of widgets.entries()) {
		await widget.input.waitFor();
		assert.equal(await widget.host.locator("h2").textContent(), sites[i].agent_title ?? sites[i].title);
		assert.equal(await widget.session(), null);
		assert.equal(await widget.send.isDisabled(), true);
	}
	await page.locator("summary").first().click();
	assert.match(await page.locator(".curl").first().textContent(), new RegExp(`Bearer ${sites[0].key}`));
	await shoot(page, "demo-empty", { fullPage: true });
	await close(page);
});

test("a conversation: return sends, the answer streams in, the next message stays in the session", async () => {
	const { page, first } = await open();
	await first.input.pressSequentially("line one");
	await first.input.press("Shift+Enter");
	await first.input.pressSequentially("line two");
	assert.equal(await first.input.inputValue(), "line one\nline two");
	await first.input.press("Enter");
	assert.equal(await first.input.inputValue(), "");
	await first.answered(1);
	assert.equal((await first.texts())[0], "line one\nline two");
	assert.ok((await first.texts())[1].includes("line two"));
	const session = await first.session();
	assert.match(session.id, /./);
	await first.input.fill("by the button");
	await first.send.click();
	await first.answered(2);
	assert.deepEqual(await first.session(), session);
	const events = await page.evaluate(() => window.events);
	assert.deepEqual(events.map((e) => e.name), ["parley-session", "parley-message", "parley-message", "parley-message", "parley-message"]);
	assert.deepEqual(events.slice(1).map((e) => [e.detail.role, e.detail.seq]), [["user", 1], ["assistant", 2], ["user", 3], ["assistant", 4]]);
	assert.ok(events.every((e) => e.on === sites[0].name && JSON.stringify(e.detail).includes("st_") === false));
	await close(page);
});

test("a reload shows the same conversation and goes on with it", async () => {
	const { page, first } = await open();
	await first.ask("remember me", 1);
	const session = await first.session();
	const texts = await first.texts();
	await page.reload();
	await first.answered(1);
	assert.deepEqual(await first.texts(), texts);
	assert.equal((await first.session()).id, session.id);
	await first.ask("and after", 2);
	assert.equal((await first.session()).id, session.id);
	assert.equal((await first.texts()).length, 4);
	await close(page);
});

test("a reload in the middle of an answer goes on with it, without a second bubble", async () => {
	const { page, first } = await open();
	await first.say("a long story !slow that is told word by word for some time");
	await first.host.locator(".message.assistant").waitFor();
	await page.reload();
	await first.answered(1);
	const texts = await first.texts();
	assert.equal(texts.length, 2);
	assert.ok(texts[1].includes("word by word for some time"));
	await page.reload();
	await first.answered(1);
	assert.deepEqual(await first.texts(), texts);
	await close(page);
});

test("two sites in one browser never share or mix sessions", async () => {
	const { page, first, second } = await open();
	const used = new Map(sites.map((site) => [site.name, []]));
	page.on("request", (rq) => {
		const path = new URL(rq.url()).pathname;
		if (path.startsWith("/v1/"))
			for (const site of sites)
				if (path.includes(`/chat/${site.agent}/`) && rq.headers().authorization === `Bearer ${site.key}`)
					used.get(site.name).push(path);
	});
	await first.say("alpha secret");
	await second.say("omega secret");
	await Promise.all([first.answered(1), second.answered(1)]);
	await first.say("alpha again");
	await second.say("omega again");
	await Promise.all([first.answered(2), second.answered(2)]);
	const [one, two] = [await first.session(), await second.session()];
	assert.notEqual(one.id, two.id);
	for (const name of sites.slice(0, 2).map((site) => site.name))
		assert.equal(used.get(name).length, 1, "one session opened by the site's own key");
	for (let round = 0; round < 2; round++) {
		assert.ok((await first.texts()).every((text) => !text.includes("omega")));
		assert.ok((await second.texts()).every((text) => !text.includes("alpha")));
		assert.equal((await first.texts()).length, 4);
		assert.equal((await second.texts()).length, 4);
		if (round === 0)
			await page.reload();
		await Promise.all([first.answered(2), second.answered(2)]);
		assert.deepEqual([(await first.session()).id, (await second.session()).id], [one.id, two.id]);
	}
	const tokens = await page.evaluate(() => Object.entries(localStorage).map(([key, value]) => [key, JSON.parse(value)]));
	const tokenOf = (session) => tokens.find(([, record]) => record.session_id === session.id)[1].token;
	const ask = (session, token) => page.evaluate(([id, bearer]) =>
		fetch(`/v1/sessions/${id}/messages`, { headers: { Authorization: `Bearer ${bearer}` } }).then((r) => r.status), [session.id, token]);
	assert.equal(await ask(one, tokenOf(one)), 200);
	assert.ok([401, 403, 404].includes(await ask(one, tokenOf(two))));
	assert.ok([401, 403, 404].includes(await ask(two, tokenOf(one))));
	await first.host.evaluate((e) => e.clearSession());
	assert.equal(await first.session(), null);
	assert.equal((await second.session()).id, two.id);
	await shoot(page, "demo-two-sites", { fullPage: true });
	await close(page);
});

test("no message text is ever parsed as HTML", async () => {
	const { page, first } = await open();
	const naughty = await naughtyStrings();
	const messages = [...HOSTILE.slice(0, 4), HOSTILE.join("\n")];
	for (let i = 0; i < naughty.length; i += 60)
		messages.push(naughty.slice(i, i + 60).join("\n"));
	for (const [i, text] of messages.entries())
		await first.ask(text, i + 1);
	assert.deepEqual(await first.user.evaluateAll((list) => list.map((e) => e.textContent)), messages);
	const answers = await first.answers.evaluateAll((list) => list.map((e) => e.textContent));
	answers.forEach((answer, i) => i < 5 && assert.ok(answer.includes(messages[i])));
	for (let round = 0; round < 2; round++) {
		assert.equal(await page.evaluate(() => window.hit), undefined);
		assert.equal(await first.bubbles.evaluateAll((list) => list.reduce((n, e) => n + e.childElementCount, 0)), 0);
		if (round === 0) {
			await shoot(page, "demo-hostile");
			await page.reload();
			await first.answered(messages.length);
			assert.deepEqual(await first.user.evaluateAll((list) => list.map((e) => e.textContent)), messages);
		}
	}
	await close(page);
});

test("new conversation leaves the session, clear ends it; both by button and by method", async () => {
	const { page, first } = await open();
	await first.ask("one", 1);
	const one = await first.session();
	await first.fresh.click();
	await first.host.locator(".empty").waitFor();
	assert.equal(await first.session(), null);
	await first.ask("two", 1);
	const two = await first.session();
	assert.notEqual(two.id, one.id);
	await first.clear.click();
	await first.input.press("Tab");
	await first.host.locator(".confirm .plain").press("Escape");
	assert.equal(await first.host.locator(".confirm").isHidden(), true);
	assert.equal((await first.session()).id, two.id);
	await first.clear.click();
	await first.host.locator(".confirm .filled").click();
	await first.host.locator(".empty").waitFor();
	assert.equal(await first.session(), null);
	await page.reload();
	await first.input.waitFor();
	assert.equal(await first.session(), null);
	await first.ask("three", 1);
	const three = await first.session();
	await first.host.evaluate((e) => e.newSession());
	assert.equal(await first.session(), null);
	assert.equal(new Set([one.id, two.id, three.id]).size, 3);
	await close(page);
});

test("two tabs show the same conversation, and follow each other into another session", async () => {
	const { page, first } = await open();
	await first.ask("from the first tab", 1);
	const tab = await openPage(browser, `${base}/demo/`, { context: page.context() });
	const other = new Widget(tab, `.site[data-site="${sites[0].name}"] parley-chat`);
	await other.answered(1);
	assert.deepEqual(await other.texts(), await first.texts());
	await other.ask("from the second tab", 2);
	await first.answered(2);
	assert.deepEqual(await first.texts(), await other.texts());
	assert.equal((await first.session()).id, (await other.session()).id);
	await first.host.evaluate((e) => e.newSession());
	await other.host.locator(".empty").waitFor();
	assert.equal(await other.session(), null);
	assert.deepEqual(tab.troubles, []);
	await close(page);
});

test("it fits a phone, in the light and in the dark", async () => {
	for (const colorScheme of ["light", "dark"]) {
		const { page, first } = await open({ viewport: { width: 340, height: 720 }, colorScheme, deviceScaleFactor: 2 });
		await first.ask("Hello! Which boots would you take for two days of rain in the hills?", 1);
		await first.ask("averyverylongwordwithoutanyspace".repeat(6), 2);
		assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
		assert.ok(await first.log.evaluate((e) => e.scrollWidth <= e.clientWidth));
		await first.host.scrollIntoViewIfNeeded();
		await shoot(page, `demo-phone-${colorScheme}`);
		await close(page);
	}
});
