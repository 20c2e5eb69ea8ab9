/* SPDX-License-Identifier: MIT */
/* client.test: the headless client without a browser: its parser, its pauses, and conversations with the mock server. (UI-4 UI-9) */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { MemoryStorage, collect, openClient, texts } from "./client-support.mjs";
import * as client from "../../htdocs/parley-client.js";
import { MockServer } from "./mock-server.mjs";

const { ParleyClient, ParleyError, EventStreamParser, backoff, parseRetryAfter, readEvents, contentText } = client;
const encode = (text) => new TextEncoder().encode(text);

let mock;
before(async () => {
	mock = await new MockServer().listen();
});
after(() => mock.close());

const newClient = (options) => openClient(mock, options);

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
	assert.equal(retriable({ code: "spend_cap_reached", status: 429 }), false);
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
