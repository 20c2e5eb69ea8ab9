/* SPDX-License-Identifier: MIT */
/* client-turn.test: turns through the headless client: broken streams, steps, tools, stops, other pages' turns. (UI-3 UI-4 UI-9 TRN-4 TRN-5 TRN-6) */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MemoryStorage, collect, openClient, textOf, texts, until } from "./client-support.mjs";
import { MockServer } from "./mock-server.mjs";

let mock;
before(async () => {
	mock = await new MockServer().listen();
});
after(() => mock.close());

const newClient = (options) => openClient(mock, options);

const streams = (turnId) => mock.requests.filter((rq) => rq.path.endsWith(`${turnId}/stream`));

/* ---- streams ---- */

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
		assert.deepEqual(events.filter((e) => e.type === "step").map((e) => [e.index, e.text, e.toolCalls.length]),
			[[0, "Let me see what there is.", 1], [1, "", 1]]);
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
