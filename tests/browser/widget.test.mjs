/* SPDX-License-Identifier: MIT */
/* widget.test: the widget when things go wrong, on a server that fails on demand; keyboard, languages, appearance. (UI-1 UI-2 UI-4 UI-5 UI-8) */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { STRINGS, chooseStrings, errorString } from "../../htdocs/parley-chat-strings.js";
import { CSP, MockServer } from "./mock-server.mjs";
import { CHAT, Widget, launchBrowser, openPage, openWidget, shoot } from "./support.mjs";

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

test("the policy is on, and would report what it forbids", async () => {
	await open();
	const response = await page.reload();
	assert.equal(response.headers()["content-security-policy"], CSP);
	await page.evaluate(() => document.body.insertAdjacentHTML("beforeend", "<p style='color:red'>x</p>"));
	await page.waitForTimeout(50);
	assert.equal(page.troubles.splice(0).some((trouble) => trouble.includes("style-src")), true);
});

test("a server that is busy at first gets the message once", async () => {
	const w = await open();
	await w.ask("hello !503", 1);
	assert.deepEqual(await w.texts(), ["hello !503", "You said: hello !503"]);
	assert.equal(new Set(mock.posts(/message$/).map((rq) => rq.idempotencyKey)).size, 1);
	assert.equal(await w.alert.textContent(), "");
});

test("a connection lost before the answer does not double the message", async () => {
	const w = await open();
	await w.ask("hello !drop", 1);
	assert.deepEqual(await w.texts(), ["hello !drop", "You said: hello !drop"]);
	assert.equal(mock.sessions.size, 1);
	assert.equal(mock.lastSession.messages.length, 2);
});

test("a stream cut in the middle goes on in the same bubble", async () => {
	const w = await open();
	await w.ask("one two three !cut four five six seven eight nine ten", 1);
	assert.equal((await w.texts()).length, 2);
	assert.match((await w.texts())[1], /nine ten$/);
});

test("a turn that fails says so and offers to try again, with the message it has", async () => {
	const w = await open();
	await w.say("tell me !flaky about the winter");
	await w.retry.waitFor();
	assert.equal(await w.alert.textContent(), STRINGS.en.errorAnswer);
	assert.deepEqual(await w.host.locator(".note:visible").allTextContents(), [`${STRINGS.en.unanswered}${STRINGS.en.retry}`, STRINGS.en.broken]);
	await shoot(page, "widget-failed");
	await page.reload();
	await w.retry.waitFor();
	assert.equal((await w.texts()).length, 2, "a reload finds the failed turn again");
	await w.retry.click();
	await w.answered(1);
	assert.deepEqual(await w.texts(), ["tell me !flaky about the winter", "You said: tell me !flaky about the winter"]);
	assert.equal(await w.host.locator(".note:visible").count(), 0);
	assert.deepEqual(mock.lastSession.messages.map((m) => m.role), ["user", "assistant"]);
	assert.equal(new Set(mock.posts(/message$/).map((rq) => rq.idempotencyKey)).size, 1);
	await w.ask("something else", 2);
	assert.equal(await w.alert.textContent(), "");
	assert.equal((await page.evaluate(() => window.events)).filter((e) => e.name === "parley-error").length >= 1, true);
});

test("a killed worker is no error: the answer is still on its way, then it is there", async () => {
	const w = await open();
	await w.ask("hello", 1);
	for (const [n, text] of [[2, "tell me !lost about the worker"], [3, "and this !vanish too"]]) {
		await w.say(text);
		await w.host.locator(".message.assistant.streaming").waitFor();
		await page.waitForTimeout(mock.lease / 2);
		assert.equal(await w.host.locator(".message.assistant.streaming").count(), 1);
		const sign = await w.host.locator(".streaming .text").evaluate((e) => getComputedStyle(e.querySelector(".dots i") ?? e, e.firstElementChild ? null : "::after"));
		assert.equal(sign.animationName ?? "", "blink", "it is seen to be at work");
		assert.equal(await w.host.locator(".note:visible").count(), 0);
		if (n === 3)
			await shoot(page, "widget-still-working");
		await w.answered(n);
	}
	assert.equal((await w.texts()).length, 6);
	assert.equal(mock.lastSession.messages.length, 6);
	assert.equal(await w.alert.textContent(), "");
	assert.deepEqual((await page.evaluate(() => window.events)).filter((e) => e.name === "parley-error"), []);
});

test("two tabs that both see a worker lost ask once more between them", async () => {
	const one = await open();
	await one.ask("hello", 1);
	const tab = await openPage(browser, `${mock.url}/page.html`, { context: page.context() });
	const two = new Widget(tab);
	await two.answered(1);
	await one.say("tell us !lost both");
	await two.host.locator(".message.assistant.streaming").waitFor();
	await Promise.all([one.answered(2), two.answered(2)]);
	assert.deepEqual(await one.texts(), await two.texts());
	assert.equal((await one.texts()).length, 4);
	assert.equal(mock.turns.size, 3, "one for hello, one lost, one more");
	assert.equal(mock.lastSession.messages.length, 4);
});

test("a retry in one tab clears the failure in the other", async () => {
	const one = await open();
	await one.ask("hello", 1);
	const tab = await openPage(browser, `${mock.url}/page.html`, { context: page.context() });
	const two = new Widget(tab);
	await two.answered(1);
	await one.say("tell us !flaky both");
	await Promise.all([one.retry.waitFor(), two.retry.waitFor()]);
	await two.retry.click();
	await Promise.all([one.answered(2), two.answered(2)]);
	await Promise.all([one, two].map((w) => w.retry.waitFor({ state: "detached" })));
	assert.deepEqual(await one.texts(), await two.texts());
	assert.deepEqual([(await one.texts()).length, mock.turns.size, mock.lastSession.messages.length], [4, 3, 4]);
});

test("an error event fails the turn too", async () => {
	const w = await open();
	await w.say("an answer with !error in it");
	await w.retry.waitFor();
	assert.equal(await w.alert.textContent(), STRINGS.en.errorAnswer);
	assert.equal(await w.alert.getAttribute("role"), "alert");
});

test("what cannot be sent stays with a button, and is sent with the same key", async () => {
	const w = await open(CHAT, { hurry: true });
	await w.say("is anybody there? !busy");
	await w.say("I can wait");
	await w.retry.waitFor();
	assert.equal(await w.alert.textContent(), STRINGS.en.errorBusy);
	assert.deepEqual(await w.host.locator(".note:visible").allTextContents(), [`${STRINGS.en.unsent}${STRINGS.en.retry}`, STRINGS.en.waiting]);
	await shoot(page, "widget-unsent");
	const keys = new Set(mock.posts(/message$/).map((rq) => rq.idempotencyKey));
	await page.route("**/v1/chat/**", async (route) => {
		mock.refusals.clear();
		await route.continue();
	});
	await w.retry.click();
	await w.retry.waitFor();
	assert.deepEqual(new Set(mock.posts(/message$/).map((rq) => rq.idempotencyKey)), keys);
});

test("offline messages wait, say so, and go out in order", async () => {
	const w = await open();
	await w.ask("online", 1);
	await page.context().setOffline(true);
	await w.say("first offline");
	await w.say("second offline");
	await w.host.locator(".status.trouble").waitFor();
	assert.deepEqual(await w.host.locator(".note:visible").allTextContents(), [STRINGS.en.waiting, STRINGS.en.waiting]);
	assert.equal(await w.host.locator(".status").textContent(), STRINGS.en.reconnecting);
	await shoot(page, "widget-offline");
	await page.context().setOffline(false);
	await w.answered(3);
	assert.deepEqual(mock.lastSession.messages.filter((m) => m.role === "user").map((m) => m.content), ["online", "first offline", "second offline"]);
	assert.equal(await w.host.locator(".status").textContent(), STRINGS.en.online);
});

test("offline messages survive a reload", async () => {
	const w = await open();
	await w.ask("online", 1);
	await page.route("**/v1/sessions/*/turns", (route) => route.abort());
	await w.say("held back");
	await w.host.locator(".message.waiting").waitFor();
	await page.unroute("**/v1/sessions/*/turns");
	await page.reload();
	await w.answered(2);
	assert.deepEqual(await w.user.allTextContents(), ["online", "held back"]);
	assert.equal(mock.lastSession.messages.length, 4);
});

test("a refused message comes back into the field", async () => {
	const w = await open();
	await w.say("this is !refuse");
	await page.waitForFunction(() => document.querySelector("parley-chat").shadowRoot.querySelector("textarea").value !== "");
	assert.equal(await w.input.inputValue(), "this is !refuse");
	assert.equal(await w.alert.textContent(), STRINGS.en.errorOther);
	await w.host.locator(".empty").waitFor();
	assert.equal(await w.bubbles.count(), 0);
	assert.equal(await w.send.isEnabled(), true);
});

test("a wrong key says that the chat is not available", async () => {
	const w = await open("<parley-chat key=\"pk_wrong\" agent=\"guide\"></parley-chat>");
	await w.say("hello");
	await page.waitForFunction(() => document.querySelector("parley-chat").shadowRoot.querySelector(".alert").textContent !== "");
	assert.equal(await w.alert.textContent(), STRINGS.en.errorRefused);
	assert.equal(await w.input.inputValue(), "hello");
});

test("an expired session keeps the text typed and the next message opens a new one", async () => {
	const w = await open();
	await w.ask("hello", 1);
	mock.expireTokens();
	await w.say("are you there?");
	await page.waitForFunction(() => document.querySelector("parley-chat").getSession() === null);
	assert.equal(await w.input.inputValue(), "are you there?");
	assert.equal(await w.alert.textContent(), STRINGS.en.errorLost);
	await w.input.press("Enter");
	await w.answered(1);
	assert.equal(mock.sessions.size, 2);
	assert.equal(await w.alert.textContent(), "");
});

test("a session that expired before a reload is forgotten; one that was ended elsewhere too", async () => {
	const w = await open();
	await w.ask("hello", 1);
	mock.expireTokens();
	await page.reload();
	await w.alert.filter({ hasText: STRINGS.en.errorLost }).waitFor();
	assert.equal(await w.session(), null);
	await w.ask("hello again", 1);
	mock.lastSession.status = "ended";
	await w.say("one more");
	await page.waitForFunction(() => document.querySelector("parley-chat").getSession() === null);
	assert.equal(await w.input.inputValue(), "one more");
});

test("a double click, or return pressed twice, sends once", async () => {
	const w = await open();
	await w.input.fill("once");
	await w.send.dblclick();
	await w.answered(1);
	await w.input.fill("and once");
	await w.input.press("Enter");
	await w.input.press("Enter");
	await w.answered(2);
	assert.equal(mock.lastSession.messages.length, 4);
});

test("return while an input method composes does not send", async () => {
	const w = await open();
	await w.input.fill("にほ");
	await w.input.dispatchEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true });
	assert.equal(await w.input.inputValue(), "にほ");
	assert.equal(mock.requests.length, 0);
});

test("older messages load upwards while what is read stays in its place", async () => {
	const w = await open();
	await w.ask("the start", 1);
	for (let i = 0; i < 60; i++)
		["user", "assistant"].forEach((role) => mock.append(mock.lastSession, role, `${role} message ${i}`));
	await page.reload();
	await w.bubbles.nth(49).waitFor();
	const isAtEnd = () => w.log.evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight < 5);
	await page.waitForTimeout(60);
	assert.equal(await isAtEnd(), true);
	await shoot(page, "widget-long");
	const watched = w.host.getByText("user message 36", { exact: true });
	await w.log.evaluate((e) => (e.scrollTop = 40));
	const before = (await watched.boundingBox()).y;
	await w.bubbles.nth(99).waitFor();
	await page.waitForTimeout(100);
	assert.ok(Math.abs((await watched.boundingBox()).y - before) < 3, "it jumped");
	assert.equal(await w.host.locator(".latest").isVisible(), true);
	await w.host.locator(".older").click();
	await w.bubbles.nth(121).waitFor();
	assert.equal((await w.texts())[0], "the start");
	assert.equal(await w.host.locator(".older").isHidden(), true);
	await w.host.locator(".latest").click();
	assert.equal(await isAtEnd(), true);
});

test("an answer does not pull the reader down who has scrolled up, but follows the one at the end", async () => {
	const w = await open();
	for (let i = 1; i <= 6; i++)
		await w.ask(`line\n${"and another line\n".repeat(4)}${i}`, i);
	const place = () => w.log.evaluate((e) => [e.scrollTop, e.scrollHeight - e.scrollTop - e.clientHeight < 5]);
	assert.equal((await place())[1], true);
	await w.say("!slow a b c d e f");
	await w.host.locator(".message.assistant.streaming").waitFor();
	await w.log.evaluate((e) => (e.scrollTop = 100));
	await w.answered(7);
	assert.deepEqual(await place(), [100, false]);
});

test("several widgets of one agent on a page are apart by their name", async () => {
	await open("<parley-chat key=\"pk_north\" agent=\"guide\" name=\"a\"></parley-chat><parley-chat key=\"pk_north\" agent=\"guide\" name=\"b\"></parley-chat>");
	const [a, b] = ["a", "b"].map((name) => new Widget(page, `parley-chat[name=${name}]`));
	await a.ask("for a", 1);
	await b.ask("for b", 1);
	assert.notEqual((await a.session()).id, (await b.session()).id);
	await page.reload();
	await Promise.all([a.answered(1), b.answered(1)]);
	assert.deepEqual(await a.user.allTextContents(), ["for a"]);
	assert.deepEqual(await b.user.allTextContents(), ["for b"]);
});

test("two tabs that both send first share one session", async () => {
	const one = await open();
	const tab = await openPage(browser, `${mock.url}/page.html`, { context: page.context() });
	const two = new Widget(tab);
	await two.input.waitFor();
	for (const each of [page, tab])
		await each.route("**/v1/chat/**", async (route) => {
			await new Promise((resolve) => setTimeout(resolve, 400));
			await route.continue();
		});
	await Promise.all([one.say("from one !slow a b c"), two.say("from two !slow a b c")]);
	await Promise.all([one.answered(2), two.answered(2)]);
	assert.equal(mock.sessions.size, 1);
	assert.deepEqual(await one.texts(), await two.texts());
	assert.equal((await one.texts()).length, 4);
});

test("another tab sees the answer grow", async () => {
	const one = await open();
	await one.ask("hello", 1);
	const tab = await openPage(browser, `${mock.url}/page.html`, { context: page.context() });
	const two = new Widget(tab);
	await two.answered(1);
	await one.say("!slow a b c d e f g h i j k l m n o p q r s t");
	const growing = two.host.locator(".message.assistant.streaming .text");
	await growing.filter({ hasText: "You said" }).waitFor();
	const early = await growing.textContent();
	await Promise.all([one.answered(2), two.answered(2)]);
	assert.ok(early.length < (await two.texts())[3].length);
	assert.deepEqual(await two.texts(), await one.texts());
});

test("an attribute changed later changes the widget; removed from the page it stops", async () => {
	const w = await open();
	await w.ask("hello", 1);
	await w.host.evaluate((e) => {
		e.setAttribute("heading", "<b>Help</b>");
		e.setAttribute("placeholder", "Ask");
		e.setAttribute("lang", "de");
	});
	assert.equal(await w.host.locator("h2").textContent(), "<b>Help</b>");
	assert.equal(await w.input.getAttribute("placeholder"), "Ask");
	assert.equal(await w.send.getAttribute("aria-label"), STRINGS.de.send);
	await w.host.evaluate((e) => {
		e.setAttribute("key", "pk_harbour");
		e.setAttribute("agent", "librarian");
	});
	await w.host.locator(".empty").waitFor();
	assert.equal(await w.session(), null);
	await w.host.evaluate((e) => {
		e.setAttribute("agent", "guide");
		e.setAttribute("key", "pk_north");
	});
	await w.answered(1);
	const count = mock.requests.length;
	await w.host.evaluate((e) => {
		window.kept = e;
		e.remove();
		window.dispatchEvent(new Event("focus"));
	});
	await page.waitForTimeout(100);
	assert.equal(mock.requests.length, count);
	await page.evaluate(() => document.body.append(window.kept));
	await w.answered(1);
	assert.equal(await w.bubbles.count(), 2);
});

test("keyboard and screen reader: order, names, roles, one live region", async () => {
	const w = await open(`<button id="start">start</button>${CHAT}`);
	await w.ask("hello", 1);
	const snapshot = await w.host.locator(".panel").ariaSnapshot();
	for (const expected of [/region "Trail guide"/, /heading "Trail guide" \[level=2\]/, /button "New conversation"/, /button "Clear conversation"/,
		/log "Messages"/, /You: /, /textbox "Your message"/, /button "Send" \[disabled\]/])
		assert.match(snapshot, expected);
	assert.equal(await w.log.getAttribute("aria-live"), "polite");
	const order = [];
	await page.locator("#start").focus();
	for (let i = 0; i < 4; i++) {
		await page.keyboard.press("Tab");
		order.push(await w.host.evaluate((e) => e.shadowRoot.activeElement.getAttribute("aria-label") ?? e.shadowRoot.activeElement.tagName));
		const outline = await w.host.evaluate((e) => {
			const { activeElement } = e.shadowRoot;
			const look = getComputedStyle(activeElement.closest(".field") ?? activeElement);
			return look.outlineStyle !== "none" || look.boxShadow !== "none";
		});
		assert.equal(outline, true, `focus is visible on ${order.at(-1)}`);
	}
	assert.deepEqual(order, ["New conversation", "Clear conversation", "Messages", "TEXTAREA"]);
	await w.say("!slow a b c d e f");
	const streaming = w.host.locator(".message.assistant.streaming");
	await streaming.waitFor();
	assert.equal(await streaming.getAttribute("aria-busy"), "true");
	await w.stop.waitFor();
	assert.match(await w.host.locator(".panel").ariaSnapshot(), /button "Stop"/);
	assert.equal(await w.stop.getAttribute("aria-keyshortcuts"), "Escape");
	const box = await w.stop.boundingBox();
	assert.ok(box.width >= 24 && box.height >= 24);
	await w.answered(2);
	assert.equal(await w.host.locator("[aria-busy]").count(), 0);
	for (const box of await w.host.locator("button:visible").evaluateAll((list) => list.map((e) => e.getBoundingClientRect().toJSON())))
		assert.ok(box.width >= 24 && box.height >= 24, "a target is too small");
});

/* Contrast of WCAG 2: (L1 + 0.05) / (L2 + 0.05). */
function contrast(one, other) {
	const luminance = (rgb) => rgb.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255)
		.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
	return (high + 0.05) / (low + 0.05);
}

test("texts have a contrast of at least 4.5, in the light and in the dark", async () => {
	for (const colorScheme of ["light", "dark"]) {
		const w = await open(CHAT, { colorScheme });
		await w.ask("hello", 1);
		await w.say("an answer with !error in it");
		await w.retry.waitFor();
		const pairs = await w.host.evaluate((e) => {
			const look = (selector) => getComputedStyle(e.shadowRoot.querySelector(selector));
			const surface = look(".panel").backgroundColor;
			return [[".user .text", look(".user .text").backgroundColor], [".assistant .text", look(".assistant .text").backgroundColor],
				[".status", surface], ["h2", surface], [".failed .note", surface], [".alert", surface], ["textarea", surface], [".retry", surface],
				[".send", look(".send").backgroundColor], [".stop", look(".stop").backgroundColor]].map(([selector, back]) => [selector, look(selector).color, back]);
		});
		for (const [selector, color, back] of pairs)
			assert.ok(contrast(color, back) >= 4.5, `${colorScheme} ${selector}: ${contrast(color, back).toFixed(2)}`);
		await shoot(page, `widget-${colorScheme}`);
		await page.context().close();
	}
});

test("every language has every string, and is chosen by its tag", () => {
	const names = Object.keys(STRINGS.en).sort();
	assert.deepEqual(Object.keys(STRINGS).sort(), ["ar", "de", "en", "es", "zh"]);
	for (const [language, table] of Object.entries(STRINGS)) {
		assert.deepEqual(Object.keys(table).sort(), names, language);
		assert.ok(Object.values(table).every((text) => text.trim() !== ""));
	}
	for (const [tags, language, direction] of [[["de-AT"], "de", "ltr"], [["fr", "zh-Hant-TW"], "zh", "ltr"], [[null, "AR_eg"], "ar", "rtl"],
		[["tlh"], "en", "ltr"], [["constructor"], "en", "ltr"], [[], "en", "ltr"]])
		assert.deepEqual(chooseStrings(tags), { language, direction, strings: STRINGS[language] });
	for (const error of [{ code: "network" }, { code: "busy", status: 503 }, { code: "x", status: 500 }, { code: "provider_failed", status: 502 },
		{ code: "session_lost" }, { code: "body_too_large", status: 413 }, { code: "site_paused", status: 403 }])
		assert.ok(errorString({ turnId: null, ...error }) in STRINGS.en);
});

test("right to left and mixed text", async () => {
	const w = await open("<parley-chat key=\"pk_north\" agent=\"guide\" lang=\"ar\"></parley-chat>", { viewport: { width: 480, height: 640 } });
	await w.ask("مرحبا، كيف حالك؟", 1);
	await w.ask("In English too", 2);
	assert.equal(await w.host.locator(".panel").getAttribute("dir"), "rtl");
	const [mine, theirs] = await Promise.all([w.user, w.answers].map((l) => l.first().boundingBox()));
	assert.ok(mine.x < theirs.x, "the visitor's bubbles are at the inline end");
	const frame = await w.host.boundingBox();
	const send = await w.send.boundingBox();
	assert.ok(send.x < frame.x + frame.width / 2);
	await w.host.locator("header .icon").nth(1).click();
	await shoot(page, "widget-arabic");
});

test("the theme is set by custom properties", async () => {
	mock.extraPages.set("/page.html", "");
	const w = await open();
	await page.evaluate(() => {
		const sheet = new CSSStyleSheet();
		sheet.replaceSync("parley-chat { --parley-accent: rgb(150, 0, 90); --parley-height: 400px; --parley-radius: 4px; }");
		document.adoptedStyleSheets = [sheet];
	});
	await w.ask("hello", 1);
	assert.equal(await w.user.first().evaluate((e) => getComputedStyle(e).backgroundColor), "rgb(150, 0, 90)");
	assert.equal((await w.host.boundingBox()).height, 400);
	await w.say("!think about it");
	await w.host.locator(".dots").waitFor();
	await shoot(page, "widget-theme");
	await w.answered(2);
});
