/* SPDX-License-Identifier: MIT */
/*
 * real.test: what only a real server can show: slow answers, killed workers, failed turns, and what is stored in the end. Runs with
 * PARLEY_BASE_URL as the quickstart serves it; tests/stages/50-browser.sh sets that and
 *	PARLEY_SK             a secret key of the first site
 *	PARLEY_SLOW_AGENT     an agent of it that takes its time for each word
 *	PARLEY_BROKEN_AGENT   one whose provider cannot be reached
 *	PARLEY_WORKERS_KILL   a shell command that kills every worker of the server, whose turn_lease is a few seconds
 * Tests are skipped where what they need is missing. (UI-2 UI-3 UI-4 TRN-4 TRN-5 TRN-6 TRN-7 TRN-8 SIT-3)
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { request as forward, createServer } from "node:http";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { STRINGS } from "../../htdocs/parley-chat-strings.js";
import { Widget, launchBrowser, openPage, shoot } from "./support.mjs";

const { PARLEY_SK: secretKey, PARLEY_SLOW_AGENT: slow, PARLEY_BROKEN_AGENT: broken, PARLEY_WORKERS_KILL: kill } = process.env;
const base = process.env.PARLEY_BASE_URL?.replace(/\/+$/, "");
const needs = (...settings) => ({ skip: [base, ...settings].every(Boolean) ? false : "needs a real server" });
const STORY = Array.from({ length: 24 }, (_, i) => `word${i + 1}`).join(" ");

let browser;
let sites;

before(async () => {
	if (!base)
		return;
	sites = (await (await fetch(`${base}/demo/config.json`)).json()).sites;
	browser = await launchBrowser();
});
after(() => browser?.close());

/* The demo page, as it is served at another address if one is given; `first` replaces what its config says of the first site, and `all` of every site. */
async function open({ first = {}, all = {}, at = base, ...options } = {}) {
	const context = await browser.newContext(options);
	context.keys = []; /* Idempotency-Key of each POST with the story */
	context.on("request", (rq) => {
		if (rq.method() === "POST" && rq.postDataJSON()?.message === STORY)
			context.keys.push(rq.headers()["idempotency-key"]);
	});
	const config = { sites: sites.map((site, i) => ({ ...site, ...all, ...(i === 0 ? first : {}) })) };
	await context.route("**/demo/config.json", (route) => route.fulfill({ json: config }));
	return show(context, at);
}

async function show(context, at = base) {
	const page = await openPage(browser, `${at}/demo/`, { context });
	const widgets = sites.map((site) => new Widget(page, `.site[data-site="${site.name}"] parley-chat`));
	await widgets[0].input.waitFor();
	return { page, context, first: widgets[0], second: widgets[1] };
}

async function close({ page, context }) {
	assert.deepEqual(page.troubles, []);
	await context.close();
}

/* The widget's session as the server keeps it: "role: text" of each message, asked for with the session's own token. */
async function stored(widget) {
	const { id } = await widget.session();
	return widget.page.evaluate(async (sessionId) => {
		const { token } = Object.values(localStorage).map((value) => JSON.parse(value)).find((record) => record.session_id === sessionId);
		const response = await fetch(`/v1/sessions/${sessionId}/messages?limit=100`, { headers: { Authorization: `Bearer ${token}` } });
		return (await response.json()).data.map((message) => `${message.role}: ${message.content}`);
	}, id);
}

const exchange = (...texts) => texts.flatMap((text) => [`user: ${text}`, `assistant: You said: ${text}`]);
const growing = (widget) => widget.growing;
const errors = (page) => page.evaluate(() => window.events.filter((e) => e.name === "parley-error").map((e) => e.detail.code));
/* The turn was lost indeed: it took several requests, of one key. */
const assertLost = ({ context: { keys } }) => assert.deepEqual([keys.length >= 2, new Set(keys).size], [true, 1]);
const killWorkers = () => promisify(execFile)("/bin/sh", ["-c", kill]);

async function change(method, path, fields) {
	const response = await fetch(`${base}/v1/${path}`, {
		method, headers: { Authorization: `Bearer ${secretKey}`, "Content-Type": "application/json" }, body: JSON.stringify(fields),
	});
	assert.ok(response.ok, await response.text());
}
const setAgent = (name, fields) => change("PATCH", `agents/${name}`, fields);

test("a conversation, with the API's address left out of the page or written in it", needs(), async () => {
	for (const address of ["", base]) {
		const view = await open({ all: { base: address } });
		await view.first.ask("Good morning! Do you have rye bread?", 1);
		await view.first.ask("line one\nline two", 2);
		const expected = exchange("Good morning! Do you have rye bread?", "line one\nline two");
		assert.deepEqual(await stored(view.first), expected);
		assert.deepEqual((await view.first.texts()).map((text, i) => `${i % 2 ? "assistant" : "user"}: ${text}`), expected);
		await view.page.reload();
		await view.first.ask("and after a reload", 3);
		assert.deepEqual(await stored(view.first), [...expected, ...exchange("and after a reload")]);
		assert.deepEqual(await errors(view.page), []);
		await close(view);
	}
});

test("reloads in the middle of a slow answer go on with it, without a second bubble", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.say(STORY);
	let seen = 0;
	for (let round = 0; round < 3; round++) {
		await growing(view.first).filter({ hasText: `word${2 + 5 * round} ` }).waitFor();
		assert.equal((await view.first.texts()).length, 2);
		const { length } = await growing(view.first).textContent();
		assert.ok(length > seen && length < STORY.length, "it grows");
		seen = length;
		await view.page.reload();
	}
	await view.first.answered(1);
	assert.deepEqual(await view.first.texts(), [STORY, `You said: ${STORY}`]);
	assert.deepEqual(await stored(view.first), exchange(STORY));
	await close(view);
});

test("a reload before the first word of an answer neither loses nor doubles the message", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	await view.first.say(STORY);
	await view.page.reload();
	await view.first.answered(2);
	assert.deepEqual(await stored(view.first), exchange("hello", STORY));
	assert.equal((await view.first.texts()).length, 4);
	await close(view);
});

test("every worker killed in the middle of an answer: it comes all the same, and each message is stored once", needs(slow, kill), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("before", 1);
	await view.first.say(STORY);
	await growing(view.first).filter({ hasText: "word4 " }).waitFor();
	await killWorkers();
	await view.first.say("typed meanwhile");
	await view.page.waitForTimeout(1500);
	assert.match(await growing(view.first).textContent(), /^You said: word1 word2 word3 word4 /, "what came stays");
	await shoot(view.page, "real-killed");
	await view.first.answered(3);
	await view.first.ask("and on", 4);
	assert.deepEqual(await stored(view.first), exchange("before", STORY, "typed meanwhile", "and on"));
	assert.equal((await view.first.texts()).length, 8);
	assert.deepEqual(await errors(view.page), []);
	assert.equal(await view.first.host.locator(".note:visible").count(), 0);
	assertLost(view);
	await close(view);
});

test("every worker killed in the middle of the first answer, and the page reloaded", needs(slow, kill), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.say(STORY);
	await growing(view.first).filter({ hasText: "word3 " }).waitFor();
	const session = await view.first.session();
	await killWorkers();
	await view.page.reload();
	await view.first.answered(1);
	assert.deepEqual(await view.first.texts(), [STORY, `You said: ${STORY}`]);
	assert.equal((await view.first.session()).id, session.id);
	assert.deepEqual(await stored(view.first), exchange(STORY));
	await view.first.ask("and on", 2);
	assert.deepEqual(await stored(view.first), exchange(STORY, "and on"));
	assertLost(view);
	await close(view);
});

test("workers killed again and again under a conversation lose and double nothing", needs(kill), async () => {
	const view = await open();
	const said = Array.from({ length: 12 }, (_, i) => `message ${i + 1}`);
	const killing = (async () => {
		for (let i = 0; i < 4; i++) {
			await killWorkers();
			await new Promise((resolve) => setTimeout(resolve, 300));
		}
	})();
	for (const [i, text] of said.entries())
		await view.first.ask(text, i + 1);
	await killing;
	assert.deepEqual(await stored(view.first), exchange(...said));
	assert.equal((await view.first.texts()).length, 24);
	await close(view);
});

test("a provider that fails: the message is kept, and trying again goes on with it", needs(broken, secretKey), async () => {
	const view = await open({ first: { agent: broken } });
	try {
		await view.first.say("can you hear me?");
		await view.first.retry.waitFor();
		assert.equal(await view.first.alert.textContent(), STRINGS.en.errorAnswer);
		await view.first.retry.click();
		await view.page.waitForFunction(() => window.events.filter((e) => e.name === "parley-error").length === 2);
		assert.deepEqual(await stored(view.first), ["user: can you hear me?"]);
		await view.page.reload();
		await view.first.retry.waitFor();
		await shoot(view.page, "real-failed");
		await setAgent(broken, { provider: "echo" });
		await view.first.retry.click();
		await view.first.answered(1);
		await view.first.ask("good", 2);
		assert.deepEqual(await stored(view.first), exchange("can you hear me?", "good"));
		assert.equal((await view.first.texts()).length, 4);
		await close(view);
	} finally {
		await setAgent(broken, { provider: "nowhere" });
	}
});

test("two sites never mix, in the page nor on the server", needs(), async () => {
	const view = await open();
	await view.first.say("alpha one");
	await view.second.say("omega one");
	await Promise.all([view.first.answered(1), view.second.answered(1)]);
	await view.first.say("alpha two");
	await view.second.say("omega two");
	await Promise.all([view.first.answered(2), view.second.answered(2)]);
	await view.page.reload();
	await Promise.all([view.first.answered(2), view.second.answered(2)]);
	assert.deepEqual(await stored(view.first), exchange("alpha one", "alpha two"));
	assert.deepEqual(await stored(view.second), exchange("omega one", "omega two"));
	assert.deepEqual(await view.second.user.allTextContents(), ["omega one", "omega two"]);
	const statuses = await view.page.evaluate(async (url) => {
		const records = Object.values(localStorage).map((value) => JSON.parse(value));
		const ask = ({ session_id: id }, { token }) =>
			fetch(`${url}/v1/sessions/${id}/messages`, { headers: { Authorization: `Bearer ${token}` } }).then((r) => r.status);
		return Promise.all([ask(records[0], records[0]), ask(records[1], records[1]), ask(records[0], records[1]), ask(records[1], records[0])]);
	}, base);
	assert.deepEqual(statuses, [200, 200, 404, 404]);
	await close(view);
});

test("a second tab sees the same conversation, also as an answer grows, and takes part in it", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	const other = await show(view.context);
	await other.first.answered(1);
	await view.first.say(STORY);
	await growing(other.first).filter({ hasText: "word3 " }).waitFor();
	await Promise.all([view.first.answered(2), other.first.answered(2)]);
	assert.deepEqual(await other.first.texts(), await view.first.texts());
	await other.first.ask("from the second tab", 3);
	await view.first.answered(3);
	assert.deepEqual(await other.first.texts(), await view.first.texts());
	assert.deepEqual(await stored(view.first), exchange("hello", STORY, "from the second tab"));
	assert.deepEqual(other.page.troubles, []);
	await close(view);
});

test("a second tab survives killed workers with the first: one answer between them", needs(slow, kill), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	const other = await show(view.context);
	await other.first.answered(1);
	await view.first.say(STORY);
	await growing(other.first).filter({ hasText: "word3 " }).waitFor();
	await killWorkers();
	await Promise.all([view.first.answered(2), other.first.answered(2)]);
	assert.deepEqual(await other.first.texts(), await view.first.texts());
	assert.deepEqual(await stored(view.first), exchange("hello", STORY));
	assertLost(view);
	await close(view);
});

test("stop really stops: no word comes after it, and what came is stored as incomplete", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	await view.first.say(STORY);
	await growing(view.first).filter({ hasText: "word3 " }).waitFor();
	await view.first.stop.click();
	await view.first.stopped.waitFor();
	const texts = await view.first.texts();
	assert.match(texts[3], /^You said: word1 word2 word3 /);
	assert.ok(texts[3].length < STORY.length);
	const expected = [...exchange("hello"), `user: ${STORY}`, `assistant: ${texts[3]}`];
	assert.deepEqual(await stored(view.first), expected);
	await view.page.waitForTimeout(1500);
	assert.deepEqual(await view.first.texts(), texts);
	assert.deepEqual(await stored(view.first), expected);
	await view.page.reload();
	await view.first.stopped.waitFor();
	assert.deepEqual(await view.first.notes.allTextContents(), [STRINGS.en.stopped]);
	await shoot(view.page, "real-stopped");
	await view.first.ask("go on", 2);
	assert.deepEqual(await stored(view.first), [...expected, ...exchange("go on")]);
	assert.deepEqual(await errors(view.page), []);
	await close(view);
});

test("stopped before its first word, a message is left alone", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.say(STORY);
	await view.first.stop.waitFor();
	await view.first.input.press("Escape");
	await view.first.stopped.waitFor();
	await view.page.reload();
	await view.first.stopped.waitFor();
	const [question, ...answer] = await stored(view.first);
	assert.equal(question, `user: ${STORY}`);
	assert.ok(answer.length <= 1);
	assert.deepEqual(await errors(view.page), []);
	await close(view);
});

test("a second tab stops the answer of the first", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	const other = await show(view.context);
	await other.first.answered(1);
	await view.first.say(STORY);
	await growing(other.first).filter({ hasText: "word3 " }).waitFor();
	await other.first.stop.click();
	await Promise.all([view.first, other.first].map((w) => w.stopped.waitFor()));
	assert.deepEqual(await other.first.texts(), await view.first.texts());
	assert.deepEqual((await stored(view.first)).at(-1), `assistant: ${(await view.first.texts()).at(-1)}`);
	await close(view);
});

test("two tabs that send in the same moment: both are answered, one after the other", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	const other = await show(view.context);
	await other.first.answered(1);
	await Promise.all([view.first.say("one two three four"), other.first.say("five six seven eight")]);
	await Promise.all([view.first.answered(3), other.first.answered(3)]);
	const kept = await stored(view.first);
	assert.deepEqual(kept.slice(2).sort(), [...exchange("one two three four"), ...exchange("five six seven eight")].sort());
	assert.deepEqual(kept[3], `assistant: You said: ${kept[2].slice("user: ".length)}`);
	for (const w of [view.first, other.first])
		assert.deepEqual((await w.texts()).map((text, i) => `${i % 2 ? "assistant" : "user"}: ${text}`), kept);
	await close(view);
});

test("a tab that does not know of a turn waits in line, sees it, and can be reloaded meanwhile", needs(slow), async () => {
	const view = await open({ first: { agent: slow } });
	await view.first.ask("hello", 1);
	const other = await open({ first: { agent: slow }, storageState: await view.context.storageState() }); /* it hears nothing of the first */
	await other.first.answered(1);
	await view.first.say(STORY);
	await growing(view.first).filter({ hasText: "word2 " }).waitFor();
	await other.first.say("from afar");
	await growing(other.first).filter({ hasText: "word4 " }).waitFor();
	assert.deepEqual(await other.first.notes.allTextContents(), [STRINGS.en.waiting]);
	await shoot(other.page, "real-queued");
	await other.page.reload();
	await other.first.answered(3);
	const expected = exchange("hello", STORY, "from afar");
	assert.deepEqual(await stored(other.first), expected);
	assert.deepEqual((await other.first.texts()).map((text, i) => `${i % 2 ? "assistant" : "user"}: ${text}`), expected);
	assert.deepEqual(await errors(other.page), []);
	await view.first.host.evaluate(() => window.dispatchEvent(new Event("focus")));
	await view.first.answered(3);
	assert.deepEqual(await view.first.texts(), await other.first.texts());
	await close(view);
	await close(other);
});

test("tools at work: what is said on the way stands for itself, and the page shows what is stored", needs(slow, secretKey), async () => {
	await setAgent(slow, { tools: ["current_time"] });
	const view = await open({ first: { agent: slow } });
	try {
		const said = "Let me see what there is.\n/call current_time {}";
		await view.first.say(said);
		await view.first.answered(2);
		const texts = await view.first.texts();
		assert.deepEqual(texts.slice(0, 2).map((text) => text.trim()), [said, "Let me see what there is."]);
		assert.match(texts[2], /^The tool said: /);
		assert.equal(texts.length, 3);
		const kept = await stored(view.first);
		assert.deepEqual(kept.filter((line) => !line.startsWith("tool: ")), texts.map((text, i) => `${i ? "assistant" : "user"}: ${text}`));
		assert.equal(kept.length, 4);
		await view.page.reload();
		await view.first.answered(2);
		assert.deepEqual(await view.first.texts(), texts);
		assert.deepEqual(await errors(view.page), []);
		await close(view);
	} finally {
		await setAgent(slow, { tools: [] });
	}
});

/* A proxy in front of the server that cuts event streams after so many bytes, so many times. The server hears of no other origin than its own. */
async function openCutter(bytes, times) {
	const cutter = { cuts: 0, asked: [] };
	const target = new URL(base);
	cutter.server = createServer((rq, rs) => {
		if (rq.url.endsWith("/stream"))
			cutter.asked.push(rq.headers["last-event-id"] ?? null);
		const headers = { ...rq.headers, ...(rq.headers.origin ? { origin: target.origin } : {}) };
		const onward = forward({ host: target.hostname, port: target.port, path: rq.url, method: rq.method, headers }, (answer) => {
			const isCut = (answer.headers["content-type"] ?? "").startsWith("text/event-stream") && cutter.cuts < times && ++cutter.cuts;
			let size = 0;
			rs.writeHead(answer.statusCode, answer.headers);
			answer.on("data", (chunk) => {
				rs.write(chunk);
				if (isCut && (size += chunk.length) > bytes)
					rs.destroy();
			});
			answer.on("end", () => rs.end());
		});
		onward.on("error", () => rs.destroy());
		rs.on("close", () => onward.destroy());
		rq.pipe(onward);
	});
	await new Promise((resolve) => cutter.server.listen(0, "127.0.0.1", resolve));
	cutter.url = `http://127.0.0.1:${cutter.server.address().port}`;
	return cutter;
}

test("a connection cut in the middle of a stream, again and again, heals unnoticed", needs(slow), async () => {
	const cutter = await openCutter(900, 3);
	const view = await open({ first: { agent: slow }, at: cutter.url });
	try {
		await view.first.say(STORY);
		await view.first.answered(1);
		assert.equal(cutter.cuts, 3);
		assert.equal(cutter.asked.length, 3);
		assert.ok(cutter.asked.every((id) => /^trn_\w+:\d+$/.test(id)), "each goes on where the last one ended");
		assert.deepEqual(await view.first.texts(), [STORY, `You said: ${STORY}`]);
		assert.deepEqual(await stored(view.first), exchange(STORY));
		assert.deepEqual(await errors(view.page), []);
		assert.equal(view.context.keys.length, 1);
		await close(view);
	} finally {
		cutter.server.closeAllConnections();
		cutter.server.close();
	}
});
