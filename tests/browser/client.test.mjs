/* SPDX-License-Identifier: MIT */
/* client.test: the headless client without a browser: its parser, its pauses, and conversations with the mock server. (UI-4 UI-9) */
import { webcrypto } from "node:crypto";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as client from "../../htdocs/parley-client.js";
import { MockServer } from "./mock-server.mjs";

/* What every browser has, and node only from version 20 on. */
globalThis.crypto ??= webcrypto;
globalThis.CustomEvent ??= class extends Event {
	constructor(type, { detail = null, ...init } = {}) {
		super(type, init);
		this.detail = detail;
	}
};

const { ParleyClient, ParleyError, EventStreamParser, backoff, parseRetryAfter, readEvents, contentText } = client;
const encode = (text) => new TextEncoder().encode(text);

/* localStorage, as much of it as is used. */
class MemoryStorage {
	map = new Map();
	getItem(key) {
		return this.map.get(key) ?? null;
	}
	setItem(key, value) {
		this.map.set(key, String(value));
	}
	removeItem(key) {
		this.map.delete(key);
	}
}

let mock;
before(async () => {
	mock = await new MockServer().listen();
});
after(() => mock.close());

function newClient(options = {}) {
	const fetch = (url, init) => globalThis.fetch(url, { ...init, headers: { ...init.headers, Origin: mock.url } });
	return new ParleyClient({ key: "pk_north", agent: "guide", base: mock.url, fetch, retryBase: 5,
		localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage(), ...options });
}

async function collect(feed) {
	const events = [];
	for await (const event of feed)
		events.push(event);
	return events;
}

const texts = (c) => c.messages.map((m) => `${m.role}: ${m.text}`);

/* ---- the parser ---- */

const STREAM = "\uFEFFid: t:1\nevent: turn\ndata: {\"a\":1}\n\n: heartbeat\r\n\r\nevent: delta\r\ndata: grüße 🌍\r\ndata:second\r\n\r\n" +
	"data\rretry: 5\runknown: x\r\rid: bad\0id\ndata:  two spaces\n\nevent: lost\ndata: without its empty line";
const EVENTS = [
	{ event: "turn", data: "{\"a\":1}", id: "t:1" },
	{ event: "delta", data: "grüße 🌍\nsecond", id: "t:1" },
	{ event: "message", data: "", id: "t:1" },
	{ event: "message", data: " two spaces", id: "t:1" },
];

test("the parser reads a stream the same whole and in pieces of every size", () => {
	const bytes = encode(STREAM);
	for (let size = 1; size <= bytes.length; size++) {
		const parser = new EventStreamParser();
		const events = [];
		for (let i = 0; i < bytes.length; i += size)
			events.push(...parser.push(bytes.slice(i, i + size)));
		assert.deepEqual(events, EVENTS, `pieces of ${size}`);
	}
});

test("an event is delivered at its empty line, not at the next byte", () => {
	for (const end of ["\n", "\r", "\r\n"]) {
		const parser = new EventStreamParser();
		assert.deepEqual(parser.push(encode(`data: x${end}`)), []);
		assert.equal(parser.push(encode(end)).length, 1, JSON.stringify(end));
	}
});

test("an empty line without data is no event and forgets the event name", () => {
	assert.deepEqual(new EventStreamParser().push(encode("event: a\n\ndata: x\n\n")), [{ event: "message", data: "x", id: "" }]);
});

test("readEvents gives up on a silent stream and calls it a network failure", async () => {
	const body = new ReadableStream({ start: (c) => c.enqueue(encode("data: x\n\n")) });
	const seen = [];
	await assert.rejects(async () => {
		for await (const { data } of readEvents(body, { idleMs: 30 }))
			seen.push(data);
	}, { name: "ParleyError", code: "network" });
	assert.deepEqual(seen, ["x"]);
});

/* ---- pauses and errors ---- */

test("backoff doubles up to its cap, at least half of it, never more", () => {
	const lowest = [0, 1, 2, 3, 4, 5, 60, 2000].map((n) => backoff(n, { base: 100, cap: 1500, random: () => 0 }));
	const highest = [0, 1, 2, 3, 4, 5, 60, 2000].map((n) => backoff(n, { base: 100, cap: 1500, random: () => 1 }));
	assert.deepEqual(lowest, [50, 100, 200, 400, 750, 750, 750, 750]);
	assert.deepEqual(highest, [100, 200, 400, 800, 1500, 1500, 1500, 1500]);
	assert.notEqual(backoff(3), backoff(3));
});

test("Retry-After is read as seconds and as a date; nonsense is none", () => {
	const now = Date.parse("2026-01-01T00:00:00Z");
	assert.equal(parseRetryAfter("7", now), 7);
	assert.equal(parseRetryAfter("Thu, 01 Jan 2026 00:00:09 GMT", now), 9);
	assert.equal(parseRetryAfter("Wed, 31 Dec 2025 23:00:00 GMT", now), 0);
	for (const value of ["soon", "", "-", null, undefined])
		assert.equal(parseRetryAfter(value, now), null);
});

test("only what may succeed by itself is retried, and never a turn that has begun", () => {
	const retriable = (problem) => ParleyError.from(problem).isRetriable;
	for (const status of [429, 502, 503, 504])
		assert.equal(retriable({ code: "x", status }), true, status);
	for (const status of [400, 401, 403, 404, 409, 413, 422, 500])
		assert.equal(retriable({ code: "x", status }), false, status);
	assert.equal(retriable({ code: "turn_running", status: 409 }), true);
	assert.equal(retriable({ code: "request_running", status: 409 }), true);
	assert.equal(retriable({ code: "request_running", status: 409, turn_id: "trn_1" }), true);
	assert.equal(retriable({ code: "provider_failed", status: 502, turn_id: "trn_1" }), false);
	assert.equal(ParleyError.from(null, 503).isRetriable, true);
});

test("the text of a content is its string or its text parts", () => {
	assert.equal(contentText("a"), "a");
	assert.equal(contentText([{ type: "text", text: "a" }, { type: "image", url: "x" }, { type: "text", text: "b" }]), "a\nb");
	assert.equal(contentText([{ type: "text", text: "a" }, { type: "text", text: "", gemini: {} }, { type: "text", text: "b" }], ""), "ab");
	for (const content of [null, undefined, 5, {}, [null, 3, { text: 4 }]])
		assert.equal(contentText(content), "");
});

test("every export has its type", async () => {
	const types = await readFile(new URL("../../htdocs/parley-client.d.ts", import.meta.url), "utf8");
	for (const name of Object.keys(client))
		assert.match(types, new RegExp(`export (class|function) ${name}\\b`));
	for (const name of Object.getOwnPropertyNames(ParleyClient.prototype).filter((n) => n !== "constructor"))
		assert.match(types, new RegExp(`\\b${name}[(:]`), name);
});

/* ---- conversations ---- */

test("a message streams its answer, and the next one goes to the same session by its token", async () => {
	const c = newClient();
	await c.start();
	assert.equal(c.getSession(), null);
	const events = await collect(c.send("first words here"));
	assert.equal(events[0].type, "turn");
	assert.ok(events.filter((e) => e.type === "delta").length >= 4);
	assert.equal(events.filter((e) => e.type === "delta").map((e) => e.text).join(""), "You said: first words here");
	assert.deepEqual({ ...events.at(-1), turnId: "" }, { type: "done", role: "assistant", text: "You said: first words here", seq: 2, turnId: "", finish: "stop" });
	const session = c.getSession();
	await collect(c.send("second"));
	assert.equal(c.getSession().id, session.id);
	assert.deepEqual(texts(c), ["user: first words here", "assistant: You said: first words here", "user: second", "assistant: You said: second"]);
	assert.match(mock.requests.at(-1).path, /\/turns$/);
	assert.match(mock.requests.at(-1).bearer, /^st_/);
	c.stop();
});

test("messages sent at once go out one after the other, in order", async () => {
	const c = newClient();
	await c.start();
	await Promise.all(["one", "two", "three"].map((text) => collect(c.send(text))));
	assert.deepEqual(c.messages.filter((m) => m.role === "user").map((m) => m.text), ["one", "two", "three"]);
	assert.deepEqual(c.messages.map((m) => m.seq), [1, 2, 3, 4, 5, 6]);
	assert.equal(mock.lastSession.messages.length, 6);
	c.stop();
});

test("a refusal for now is retried with the same Idempotency-Key", async () => {
	const c = newClient();
	await c.start();
	await collect(c.send("please !503"));
	const posts = mock.posts(/message$/).filter((rq) => rq.body.message === "please !503");
	assert.equal(posts.length, 3);
	assert.equal(new Set(posts.map((rq) => rq.idempotencyKey)).size, 1);
	assert.deepEqual(texts(c), ["user: please !503", "assistant: You said: please !503"]);
	c.stop();
});

test("a connection lost before any event is retried without doubling the message", async () => {
	const c = newClient();
	await c.start();
	const sessions = mock.sessions.size;
	const events = await collect(c.send("once only !drop"));
	assert.equal(events.at(-1).text, "You said: once only !drop");
	assert.equal(mock.sessions.size, sessions + 1);
	assert.equal(mock.lastSession.messages.length, 2);
	assert.equal(c.getSession().id, mock.lastSession.id);
	c.stop();
});

/* The answer's text by the rule for readers of events. */
const textOf = (events) => events.reduce((text, e) => (e.type === "delta" ? text + e.text : e.type === "reset" || e.type === "step" ? "" : text), "");
const streams = (turnId) => mock.requests.filter((rq) => rq.path.endsWith(`${turnId}/stream`));
/* Resolves when test() holds for the client. */
async function until(c, isTrue) {
	while (!isTrue())
		await new Promise((resolve) => c.addEventListener("change", resolve, { once: true }));
}

test("a stream cut again and again is taken up where it broke off, and no word comes twice", async () => {
	const c = newClient();
	await c.start();
	const isConnected = new Set();
	c.addEventListener("change", () => isConnected.add(c.isConnected));
	const said = `!cut ${Array.from({ length: 20 }, (_, i) => `grüße${i} 🌍`).join(" ")}`;
	const events = await collect(c.send(said));
	assert.equal(events.at(-1).text, `You said: ${said}`);
	assert.deepEqual(events.filter((e) => !["turn", "delta", "done"].includes(e.type)), []);
	assert.equal(textOf(events), `You said: ${said}`);
	assert.deepEqual(c.messages.map((m) => m.state), ["sent", "done"]);
	const [{ turnId }] = events;
	assert.equal(streams(turnId).length, 3);
	const places = streams(turnId).map((rq) => rq.lastEventId.split(":"));
	assert.deepEqual([...new Set(places.map(([of]) => of))], [turnId]);
	assert.deepEqual(places.map(([, at]) => Number(at)), places.map(([, at]) => Number(at)).sort((x, y) => x - y));
	assert.equal(mock.requests.filter((rq) => rq.path.endsWith(turnId)).length, 0, "its state is not asked for");
	assert.deepEqual([...isConnected], [true]);
	c.stop();
});

test("a connection lost before the first event of a later message: its turn is found and followed", async () => {
	const c = newClient();
	await c.start();
	await collect(c.send("hello"));
	const events = await collect(c.send("later !drop !slow a b c d"));
	assert.equal(textOf(events), "You said: later !drop !slow a b c d");
	assert.ok(events.filter((e) => e.type === "delta").length > 2, "it is seen to grow");
	assert.equal(streams(events.at(-1).turnId).length, 1);
	assert.deepEqual(c.messages.map((m) => m.seq), [1, 2, 3, 4]);
	assert.equal(mock.lastSession.messages.length, 4);
	c.stop();
});

test("steps and tools are told, and what was said before them stands for itself, as it is stored", async () => {
	for (const said of ["with !tools please", "with !tools and a !cut"]) {
		const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
		const c = newClient(options);
		await c.start();
		const looks = [];
		c.addEventListener("change", () => looks.push(c.messages.at(-1)?.isLooking ?? false));
		const events = await collect(c.send(said));
		assert.deepEqual(events.filter((e) => e.type === "step").map((e) => [e.index, e.text, e.toolCalls.length]), [[0, "Let me see what there is.", 1], [1, "", 1]]);
		assert.deepEqual(events.filter((e) => e.type === "tool").map((e) => [e.toolCallId, e.name, e.result, e.isError]),
			[["call_0", "look_up", "secret result", false], ["call_1", "look_up", "secret result", true]]);
		assert.equal(textOf(events), `You said: ${said}`);
		assert.equal(textOf(events.slice(0, events.findIndex((e) => e.type === "step"))), "Let me see what there is.");
		assert.equal(looks.includes(true) && !looks.at(-1), true);
		const shown = [`user: ${said}`, "assistant: Let me see what there is.", `assistant: You said: ${said}`];
		assert.deepEqual(texts(c), shown);
		assert.deepEqual(c.messages.map((m) => [m.seq, m.state]), [[1, "sent"], [2, "done"], [6, "done"]]);
		c.stop();
		const again = newClient(options);
		await again.start();
		assert.deepEqual(texts(again), shown);
		again.stop();
	}
});

test("an error that is not the turn's own is a broken connection and no more", async () => {
	const c = newClient();
	await c.start();
	const events = await collect(c.send("who is !upset here"));
	assert.equal(textOf(events), "You said: who is !upset here");
	assert.equal(streams(events[0].turnId).length, 2);
	c.stop();
});

test("a text that came to nothing is replaced by the next", async () => {
	const c = newClient();
	await c.start();
	const lengths = [];
	c.addEventListener("change", () => lengths.push(c.messages[1]?.text.length ?? 0));
	const events = await collect(c.send("once !reset more"));
	assert.equal(events.filter((e) => e.type === "reset").length, 1);
	assert.equal(textOf(events), "You said: once !reset more");
	assert.equal(c.messages[1].text, "You said: once !reset more");
	assert.equal(lengths.slice(lengths.findIndex((n) => n > 0)).includes(0), false, "the bubble is not emptied");
	c.stop();
});

/* ---- stopping ---- */

test("cancel stops the answer, and what came of it stays", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	assert.equal(await c.cancel(), null);
	const feed = c.send("a long !slow !deaf story of a b c d e f g h");
	await until(c, () => c.messages[1]?.text.includes("long"));
	assert.equal(c.isBusy, true);
	const turn = await c.cancel();
	assert.equal(turn.status, "cancelled");
	const events = await collect(feed);
	assert.deepEqual([events.at(-1).finish, events.at(-1).text], ["cancelled", textOf(events)]);
	assert.match(textOf(events), /^You said: a long/);
	assert.deepEqual(c.messages.map((m) => m.state), ["sent", "stopped"]);
	assert.equal(c.isBusy, false);
	assert.equal(mock.lastSession.messages[1].content, textOf(events));
	assert.equal((await c.cancel(turn.id)).status, "cancelled", "one that has ended is returned as it is");
	await assert.rejects(c.cancel("trn_other"), { status: 404 });
	const shown = texts(c);
	c.stop();
	const again = newClient(options);
	await again.start();
	assert.deepEqual([texts(again), again.messages[1].state], [shown, "stopped"]);
	await collect(again.send("and on"));
	assert.deepEqual(again.messages.map((m) => m.seq), [1, 2, 3, 4]);
	again.stop();
});

test("an answer that was stopped before its first word leaves no bubble, and no failure", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	const feed = c.send("!think it over");
	await until(c, () => c.isBusy);
	await c.cancel();
	assert.deepEqual((({ text, seq, finish }) => [text, seq, finish])((await collect(feed)).at(-1)), ["", null, "cancelled"]);
	assert.deepEqual(c.messages.map((m) => m.state), ["stopped"]);
	c.stop();
	const again = newClient(options);
	const errors = [];
	again.addEventListener("error", (event) => errors.push(event.detail));
	await again.start();
	await until(again, () => again.messages[0].state === "stopped" && !again.isBusy);
	const count = mock.requests.length;
	await again.refresh();
	await again.refresh();
	assert.equal(mock.requests.slice(count).some((rq) => rq.path.endsWith("/stream")), false, "it is not followed again and again");
	await collect(again.send("what else"));
	assert.deepEqual([again.messages.length, errors], [3, []]);
	again.stop();
});

test("what the visitor stopped is not asked for again when its worker is lost", async () => {
	const c = newClient();
	await c.start();
	const feed = c.send("far away !lost !stuck a b c");
	await until(c, () => c.messages[1]?.text.includes("far"));
	await c.cancel();
	await assert.rejects(collect(feed), { code: "worker_lost" });
	assert.deepEqual(c.messages.map((m) => m.state), ["failed", "failed"]);
	assert.equal(mock.posts(/message$/).filter((rq) => rq.body.message.startsWith("far away")).length, 1);
	await collect(c.retry(c.messages[0]));
	assert.deepEqual(mock.lastSession.messages.map((m) => m.role), ["user", "assistant"]);
	c.stop();
});

/* ---- other pages ---- */

test("follow gives a turn from its start or from any event on, and says when there is no such turn", async () => {
	const c = newClient();
	await c.start();
	await assert.rejects(collect(c.follow("trn_1")), { code: "cancelled" });
	const said = "tell !slow a b c !cut d e f";
	const sent = collect(c.send(said));
	await until(c, () => c.messages[1]?.text.includes("tell"));
	const [{ id, status }, ...others] = await c.runningTurns();
	assert.deepEqual([status, others], ["running", []]);
	const [whole] = await Promise.all([collect(c.follow(id)), sent]);
	assert.deepEqual(await c.runningTurns(), []);
	assert.equal(whole[0].type, "turn");
	assert.equal(textOf(whole), `You said: ${said}`);
	for (const [i, { lastEventId }] of whole.slice(0, -1).entries()) {
		const rest = await collect(c.follow(id, { lastEventId }));
		assert.equal(textOf([...whole.slice(0, i + 1), ...rest]), `You said: ${said}`);
		assert.equal(rest.at(-1).type, "done");
	}
	const beyond = await collect(c.follow(id, { lastEventId: `${id}:99999` }));
	assert.deepEqual([beyond[0].type, textOf(beyond)], ["reset", `You said: ${said}`]);
	await assert.rejects(collect(c.follow(id, { lastEventId: "trn_other:3" })), { status: 400 });
	await assert.rejects(collect(c.follow("trn_other")), { status: 404, turnId: "trn_other" });
	await assert.rejects(collect(c.send("and !error here")));
	await assert.rejects(collect(c.follow(c.messages.at(-1).turnId)), { code: "provider_failed" });
	c.stop();
});

test("a page that comes back finds the turn that runs, also when it remembers nothing of it", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	await assert.rejects(collect(c.send("again !flaky !slow")));
	c.retry(c.messages[0]);
	await until(c, () => c.isBusy && mock.lastSession.turn.isAgain);
	c.stop();
	const [[place, record]] = [...options.localStorage.map].map(([k, v]) => [k, JSON.parse(v)]);
	options.localStorage.setItem(place, JSON.stringify({ ...record, turn: null }));
	const again = newClient(options);
	await again.start();
	assert.equal(again.isBusy, true);
	await until(again, () => !again.isBusy);
	assert.deepEqual(texts(again), ["user: again !flaky !slow", "assistant: You said: again !flaky !slow"]);
	assert.equal(mock.posts(/message$/).filter((rq) => rq.body.message === "again !flaky !slow").length, 2);
	again.stop();
});

test("a message sent while another page's turn runs: in line, or tried again, but behind it and once", async () => {
	for (const onBusy of ["queue", "reject", undefined]) {
		const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
		const one = newClient(options);
		await one.start();
		await collect(one.send("hello"));
		const two = newClient({ ...options, sessionStorage: new MemoryStorage(), onBusy });
		await two.start();
		const first = collect(one.send("!slow from one"));
		await until(one, () => one.messages[3]?.text.includes("You"));
		const events = collect(two.send("from two"));
		await until(two, () => two.messages.some((m) => m.state === "waiting"));
		if (onBusy === "queue")
			await until(two, () => two.messages.some((m) => m.state === "streaming" && m.text.includes("You")));
		await Promise.all([first, events]);
		assert.deepEqual(mock.lastSession.messages.filter((m) => m.role === "user").map((m) => m.content), ["hello", "!slow from one", "from two"]);
		assert.equal(mock.lastSession.messages.length, 6);
		const posts = mock.posts(/turns$/).filter((rq) => rq.body.message === "from two" && rq.path.includes(mock.lastSession.id));
		assert.deepEqual([posts[0].body.on_busy, new Set(posts.map((rq) => rq.idempotencyKey)).size], [onBusy, 1]);
		assert.equal(posts.length === 1, onBusy === "queue");
		assert.deepEqual((await events).filter((e) => e.type === "queued").map((e) => e.position), onBusy === "queue" ? [1] : []);
		await two.refresh();
		assert.deepEqual(two.messages.map((m) => m.seq), [1, 2, 3, 4, 5, 6]);
		one.stop();
		two.stop();
	}
});

test("how a message is to be answered goes with it, also when it is sent again after a reload", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage(), onBusy: "queue" };
	const c = newClient(options);
	await c.start();
	await assert.rejects(collect(c.send("as I like it !flaky", { onBusy: "interrupt", onDisconnect: "cancel", maxIterations: 3 })));
	c.stop();
	const again = newClient(options);
	await again.start();
	await until(again, () => again.messages.at(-1)?.state === "failed");
	await collect(again.retry(again.messages[0]));
	const posts = mock.posts(/message$/).filter((rq) => rq.body.message === "as I like it !flaky");
	assert.equal(posts.length, 2);
	assert.equal(posts[0].text, posts[1].text);
	assert.deepEqual([posts[0].body.on_busy, posts[0].body.on_disconnect, posts[0].body.max_iterations], ["interrupt", "cancel", 3]);
	again.stop();
});

test("a turn that reached a spending cap is not tried again by itself", () => {
	assert.equal(ParleyError.from({ code: "spend_cap_reached", status: 429 }).isRetriable, false);
});

test("a turn that fails keeps its message and its partial answer, and retry is the same request again", async () => {
	const c = newClient();
	await c.start();
	const errors = [];
	c.addEventListener("error", (event) => errors.push(event.detail.code));
	const before = mock.requests.length;
	await assert.rejects(collect(c.send("bad luck !die again and again")), { code: "provider_cut" });
	assert.deepEqual(c.messages.map((m) => m.state), ["failed", "failed"]);
	assert.match(c.messages[1].text, /^You said: bad/);
	assert.deepEqual(errors, ["provider_cut"]);
	const session = c.getSession().id;
	await assert.rejects(collect(c.retry(c.messages[0])), { code: "provider_cut" });
	const posts = mock.requests.slice(before).filter((rq) => rq.method === "POST");
	assert.equal(posts.length, 2);
	for (const part of ["path", "idempotencyKey", "text", "bearer"])
		assert.equal(posts[0][part], posts[1][part], part);
	assert.equal(c.getSession().id, session);
	assert.deepEqual(mock.lastSession.messages.map((m) => m.role), ["user"]);
	assert.deepEqual(c.messages.map((m) => m.state), ["failed", "failed"]);
	c.stop();
});

test("a retry that is answered leaves one question and one answer, also after a reload", async () => {
	for (const isFirst of [true, false])
		for (const isReloaded of [true, false]) {
			const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
			let c = newClient(options);
			await c.start();
			if (!isFirst)
				await collect(c.send("hello"));
			const before = mock.requests.length;
			await assert.rejects(collect(c.send("once more !flaky please")), { code: "provider_failed" });
			if (isReloaded) {
				c.stop();
				c = newClient(options);
				const failed = new Promise((resolve) => c.addEventListener("error", resolve));
				await c.start();
				await failed;
			}
			assert.deepEqual(c.messages.slice(-2).map((m) => m.state), ["failed", "failed"]);
			const events = await collect(c.retry(c.messages.at(-2)));
			assert.equal(events.at(-1).text, "You said: once more !flaky please");
			const posts = mock.requests.slice(before).filter((rq) => rq.method === "POST");
			assert.deepEqual([posts.length, new Set(posts.map((rq) => rq.path + rq.idempotencyKey + rq.text)).size], [2, 1]);
			const expected = [...(isFirst ? [] : ["user: hello", "assistant: You said: hello"]), "user: once more !flaky please",
				"assistant: You said: once more !flaky please"];
			assert.deepEqual(texts(c), expected);
			assert.deepEqual(mock.lastSession.messages.map((m) => `${m.role}: ${m.content}`), expected);
			assert.equal(JSON.parse(options.localStorage.map.values().next().value).turn, null, "what is answered is forgotten");
			await collect(c.send("and on"));
			assert.equal(mock.lastSession.messages.length, expected.length + 2);
			c.stop();
		}
});

test("a failed message that another has followed is sent as a new one", async () => {
	const c = newClient();
	await c.start();
	await assert.rejects(collect(c.send("first !flaky")));
	await collect(c.send("second"));
	await assert.rejects(collect(c.retry(c.messages[0])), { code: "provider_failed" });
	assert.deepEqual(mock.lastSession.messages.map((m) => m.content), ["first !flaky", "second", "You said: second", "first !flaky"]);
	assert.equal(new Set(mock.requests.slice(-3).filter((rq) => rq.method === "POST").map((rq) => rq.idempotencyKey)).size, 3);
	c.stop();
});

test("a turn whose worker was lost is asked for again by itself, quietly", async () => {
	for (const text of ["my worker !lost was killed in the middle", "my worker !vanish was killed before a word"]) {
		const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
		const c = newClient(options);
		await c.start();
		const [states, errors] = [new Set(), []];
		c.addEventListener("error", (event) => errors.push(event.detail));
		c.addEventListener("change", () => c.messages.forEach((m) => states.add(`${m.role} ${m.state}`)));
		const events = await collect(c.send(text));
		assert.equal(events.at(-1).text, `You said: ${text}`);
		assert.deepEqual(errors, []);
		assert.deepEqual([...states].filter((state) => /failed/.test(state)), []);
		assert.equal(events.filter((e) => e.type === "delta").map((e) => e.text).join(""), `You said: ${text}`, "no word comes twice");
		assert.deepEqual(mock.lastSession.messages.map((m) => m.role), ["user", "assistant"]);
		assert.deepEqual(texts(c), [`user: ${text}`, `assistant: You said: ${text}`]);
		c.stop();
	}
});

test("while the server is still at work on a message of unknown fate, its answer is on the way", async () => {
	const c = newClient();
	await c.start();
	const done = collect(c.send("hm !vanish"));
	while (c.messages.length < 2)
		await new Promise((resolve) => c.addEventListener("change", resolve, { once: true }));
	assert.deepEqual(c.messages.map((m) => [m.role, m.state]), [["user", "sent"], ["assistant", "streaming"]]);
	const second = collect(c.send("behind it"));
	assert.deepEqual(c.messages.map((m) => m.text), ["hm !vanish", "", "behind it"]);
	await Promise.all([done, second]);
	assert.deepEqual(c.messages.map((m) => m.seq), [1, 2, 3, 4]);
	c.stop();
});

test("a page left while its worker is lost goes on when it comes back", async () => {
	for (const text of ["left !lost in the middle", "left !vanish at once"]) {
		const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
		const c = newClient(options);
		await c.start();
		await collect(c.send("hello"));
		c.send(text);
		await new Promise((resolve) => setTimeout(resolve, 80));
		c.stop();
		const again = newClient(options);
		const answer = new Promise((resolve) => again.addEventListener("message", (event) => event.detail.role === "assistant" && resolve(event.detail.text)));
		await again.start();
		assert.equal(again.messages.filter((m) => m.text === text).length, 1, "one bubble, stored or not");
		assert.equal(await answer, `You said: ${text}`);
		assert.deepEqual(again.messages.map((m) => m.seq), [1, 2, 3, 4]);
		assert.equal(mock.lastSession.messages.length, 4);
		again.stop();
	}
});

test("a page left between a retry and its first event sends the same request once more", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	await assert.rejects(collect(c.send("almost !flaky")));
	c.retry(c.messages[0]);
	c.stop();
	const again = newClient(options);
	const answer = new Promise((resolve) => again.addEventListener("message", (event) => resolve(event.detail.role)));
	await again.start();
	assert.equal(await answer, "assistant");
	const posts = mock.posts(/message$/).filter((rq) => rq.body.message === "almost !flaky");
	assert.ok(posts.length >= 2);
	assert.equal(new Set(posts.map((rq) => rq.idempotencyKey)).size, 1);
	assert.equal(mock.lastSession.messages.length, 2);
	again.stop();
});

test("a key that the server knows with another body is given up", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	await collect(c.send("hello"));
	await assert.rejects(collect(c.send("two !flaky")));
	const [[place, record]] = [...options.localStorage.map].map(([k, v]) => [k, JSON.parse(v)]);
	options.localStorage.setItem(place, JSON.stringify({ ...record, turn: { ...record.turn, text: "changed" } }));
	await assert.rejects(collect(c.retry(c.messages.at(-2))), { code: "idempotency_key_reused", status: 422 });
	assert.equal(c.messages.at(-2).state, "failed");
	await assert.rejects(collect(c.retry(c.messages.at(-2))), { code: "provider_failed" });
	assert.equal(mock.lastSession.messages.filter((m) => m.content === "two !flaky").length, 2);
	c.stop();
});

test("what cannot be sent stays, holds back what follows, and goes out on retry with its own key", async () => {
	const c = newClient({ retryBase: 1 });
	await c.start();
	const first = collect(c.send("nobody home !busy"));
	const second = collect(c.send("behind it"));
	await assert.rejects(first, { code: "busy" });
	assert.deepEqual(c.messages.map((m) => m.state), ["failed", "waiting"]);
	const key = mock.posts(/message$/).at(-1).idempotencyKey;
	await assert.rejects(collect(c.retry(c.messages[0])), { code: "busy" });
	assert.equal(mock.posts(/message$/).at(-1).idempotencyKey, key);
	c.newSession();
	await assert.rejects(second, { code: "cancelled" });
	assert.deepEqual(c.messages, []);
	c.stop();
});

test("a refused message is given back", async () => {
	const c = newClient();
	await c.start();
	const returned = [];
	c.addEventListener("return", (event) => returned.push(event.detail.text));
	await assert.rejects(collect(c.send("no !refuse")), { code: "invalid_request", status: 400 });
	assert.deepEqual(returned, ["no !refuse"]);
	assert.deepEqual(c.messages, []);
	c.stop();
});

test("an expired token gives the text back and the next message opens a new session", async () => {
	const c = newClient();
	await c.start();
	await collect(c.send("hello"));
	const old = c.getSession().id;
	const returned = [];
	c.addEventListener("return", (event) => returned.push(event.detail.text));
	mock.expireTokens();
	await assert.rejects(collect(c.send("still there?")), { code: "cancelled" });
	assert.deepEqual(returned, ["still there?"]);
	assert.equal(c.getSession(), null);
	await collect(c.send("still there?"));
	assert.notEqual(c.getSession().id, old);
	c.stop();
});

test("a token is renewed after half its life", async () => {
	mock.tokenLife = 2000;
	const c = newClient();
	await c.start();
	await collect(c.send("hello"));
	const before = mock.posts(/\/token$/).length;
	await collect(c.send("early"));
	assert.equal(mock.posts(/\/token$/).length, before);
	await new Promise((resolve) => setTimeout(resolve, 1600));
	await collect(c.send("late"));
	assert.equal(mock.posts(/\/token$/).length, before + 1);
	const used = mock.posts(/turns$/).at(-1).bearer;
	assert.equal(used, [...mock.lastSession.tokens.keys()].at(-1));
	mock.tokenLife = 7 * 24 * 3600 * 1000;
	c.stop();
});

test("a new client with the same storage goes on, also with an answer that was running", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	await collect(c.send("hello"));
	for await (const event of c.send("a long tale !slow that goes on and on"))
		if (event.type === "delta")
			break;
	c.stop();
	const again = newClient(options);
	const answer = new Promise((resolve) => again.addEventListener("message", (event) => resolve(event.detail)));
	await again.start();
	assert.equal(again.messages.length, 4);
	assert.equal(again.messages[3].state, "streaming");
	assert.equal((await answer).text, "You said: a long tale !slow that goes on and on");
	assert.deepEqual(again.messages.map((m) => m.seq), [1, 2, 3, 4]);
	const reads = mock.requests.filter((rq) => rq.path.endsWith("/messages")).slice(-1).map((rq) => [rq.query.get("order"), rq.query.get("min_seq")]);
	assert.deepEqual(reads, [["desc", "3"]]);
	again.stop();
});

test("a message typed but not accepted when the page is left is sent after it comes back, once", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const offline = newClient({ ...options, retryBase: 10000, fetch: () => Promise.reject(new TypeError("offline")) });
	await offline.start();
	offline.send("kept for later");
	await new Promise((resolve) => setTimeout(resolve, 20));
	assert.equal(offline.isConnected, false);
	offline.stop();
	const again = newClient(options);
	const answer = new Promise((resolve) => again.addEventListener("message", (event) => event.detail.role === "assistant" && resolve()));
	await again.start();
	await answer;
	assert.deepEqual(texts(again), ["user: kept for later", "assistant: You said: kept for later"]);
	again.stop();
	const third = newClient(options);
	await third.start();
	assert.equal(third.messages.length, 2);
	third.stop();
});

test("long histories load by page, upwards", async () => {
	const options = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const c = newClient(options);
	await c.start();
	await collect(c.send("hello"));
	c.stop();
	for (let i = 0; i < 59; i++)
		["user", "assistant"].forEach((role) => mock.append(mock.lastSession, role, `${role} ${i}`));
	const again = newClient(options);
	await again.start();
	assert.equal(again.messages.length, 50);
	assert.equal(again.hasOlder, true);
	assert.equal(await again.loadOlder(), true);
	assert.equal(await again.loadOlder(), false);
	assert.deepEqual(again.messages.map((m) => m.seq), Array.from({ length: 120 }, (_, i) => i + 1));
	again.stop();
});

test("two keys, two agents or two names never share a session", async () => {
	const storage = { localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage() };
	const clients = [newClient(storage), newClient({ ...storage, name: "second" }), newClient({ ...storage, key: "pk_harbour", agent: "librarian" })];
	await Promise.all(clients.map((c) => c.start()));
	await Promise.all(clients.map((c, i) => collect(c.send(`I am ${i}`))));
	assert.equal(new Set(clients.map((c) => c.getSession().id)).size, 3);
	clients.forEach((c, i) => assert.deepEqual(texts(c), [`user: I am ${i}`, `assistant: You said: I am ${i}`]));
	clients.forEach((c) => c.stop());
});

test("new leaves the session, clear ends it too, create opens one at once", async () => {
	const c = newClient();
	await c.start();
	await collect(c.send("hello"));
	const first = mock.sessions.get(c.getSession().id);
	await c.newSession();
	assert.equal(c.getSession(), null);
	assert.deepEqual(c.messages, []);
	assert.equal(first.status, "active");
	const made = await c.createSession({ context: "checkout" });
	assert.equal(made.context, "checkout");
	assert.equal(made.token, undefined);
	assert.equal(c.getSession().id, made.id);
	await collect(c.send("in it"));
	assert.equal(c.getSession().id, made.id);
	await c.clearSession();
	assert.equal(mock.sessions.get(made.id).status, "ended");
	assert.equal(c.getSession(), null);
	c.stop();
});

test("it works where there is no storage, and where storage refuses", async () => {
	const refusing = { getItem() { throw new Error("no"); }, setItem() { throw new Error("no"); }, removeItem() { throw new Error("no"); } };
	for (const storage of [null, refusing]) {
		const c = newClient({ localStorage: storage, sessionStorage: storage });
		await c.start();
		await collect(c.send("hello"));
		await collect(c.send("again"));
		assert.equal(c.messages.length, 4);
		c.stop();
	}
});

test("an empty message is refused at once", () => {
	const c = newClient();
	for (const text of ["", "  \n", undefined, 5])
		assert.throws(() => c.send(text), TypeError);
});
