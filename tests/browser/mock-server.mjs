/* SPDX-License-Identifier: MIT */
/*
 * mock-server: serves htdocs/ and the part of the API that a browser uses, in memory, with faults on demand: a message that contains
 *	!slow      is answered slowly
 *	!think     is answered after a pause
 *	!cut       its streams break in the middle, three times; the turn goes on
 *	!die       its stream breaks in the middle and the turn fails a little later
 *	!tools     is answered after two steps with tools, of which the first says something
 *	!reset     is answered by a second provider, after the first broke off
 *	!deaf      the first attempt to stop it is answered with 503
 *	!stuck     cannot be stopped
 *	!upset     its streams end with an error that is not the turn's, twice
 *	!error     its turn fails with an `error` event
 *	!flaky     as !error, the first time
 *	!lost      its worker is killed in the middle, the first time: nothing is heard of the turn until its lease has run out
 *	!vanish    as !lost, before any event
 *	!drop      the connection breaks once before any event, though the message was stored
 *	!503       is refused twice with 503, then accepted
 *	!busy      is always refused with 503
 *	!refuse    is refused with 400
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const HTDOCS = fileURLToPath(new URL("../../htdocs/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".json": "application/json", ".svg": "image/svg+xml" };
export const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:";

const SITES = [
	{ title: "Northwind Outfitters", name: "northwind", key: "pk_north", agent: "guide", agent_title: "Trail guide", base: "" },
	{ title: "Harbour Library", name: "harbour", key: "pk_harbour", agent: "librarian", agent_title: "Librarian", base: "" },
];

const id = (prefix) => prefix + randomBytes(13).toString("hex");
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Problem extends Error {
	constructor(status, code, extra = {}, headers = {}) {
		super(code);
		Object.assign(this, { status, code, extra, headers });
	}
}

export class MockServer {
	sessions = new Map();
	turns = new Map();
	keys = new Map(); /* credential and Idempotency-Key -> { request, turn } */
	lease = 900; /* ms until a turn that nothing is heard of has failed */
	requests = []; /* { method, path, idempotencyKey, lastEventId, bearer, body } of all API calls */
	refusals = new Map();
	tokenLife = 7 * 24 * 3600 * 1000;
	delay = 12;
	extraPages = new Map(); /* path -> HTML */

	async listen() {
		this.server = createServer((rq, rs) => this.#answer(rq, rs).catch((error) => this.#fail(rs, error)));
		await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
		this.url = `http://127.0.0.1:${this.server.address().port}`;
		return this;
	}

	close() {
		this.server.closeAllConnections();
		return new Promise((resolve) => this.server.close(resolve));
	}

	posts(pattern) {
		return this.requests.filter((rq) => rq.method === "POST" && pattern.test(rq.path));
	}

	/* Every token given out so far stops working. */
	expireTokens() {
		for (const session of this.sessions.values())
			session.tokens.clear();
	}

	/* The only session there is, or the newest. */
	get lastSession() {
		return [...this.sessions.values()].at(-1);
	}

	async #answer(rq, rs) {
		const url = new URL(rq.url, this.url);
		if (!url.pathname.startsWith("/v1/"))
			return this.#static(url.pathname, rs);
		const chunks = [];
		for await (const chunk of rq)
			chunks.push(chunk);
		const text = Buffer.concat(chunks).toString();
		const call = {
			method: rq.method, path: url.pathname, query: url.searchParams, origin: rq.headers.origin, lastEventId: rq.headers["last-event-id"],
			idempotencyKey: rq.headers["idempotency-key"], bearer: (rq.headers.authorization ?? "").replace("Bearer ", ""),
			body: text === "" ? {} : JSON.parse(text), text,
		};
		this.requests.push(call);
		return this.#route(call, rq, rs);
	}

	#route(call, rq, rs) {
		const [, , kind, name, what, turnId, action] = call.path.split("/");
		if (action && !["GET stream", "POST cancel"].includes(`${call.method} ${action}`))
			throw new Problem(404, "not_found");
		const route = `${call.method} ${kind}/${what ?? ""}${turnId ? "/t" : ""}`;
		if (route === "POST chat/message")
			return this.#post(call, rs, this.#site(call, name), null);
		if (route === "POST sessions/" && !name)
			return this.#create(call, rs);
		const session = this.#reach(call, name);
		switch (route) {
		case "POST sessions/turns":
			return this.#post(call, rs, null, session);
		case "GET sessions/turns/t":
			if (action === "stream")
				return this.#replay(call, rq, rs, this.#turn(session, turnId));
			return this.#json(rs, 200, this.#view(this.#turn(session, turnId)));
		case "POST sessions/turns/t":
			return this.#cancel(rs, this.#turn(session, turnId));
		case "GET sessions/turns":
			return this.#json(rs, 200, this.#listTurns(session, call.query));
		case "GET sessions/messages":
			return this.#json(rs, 200, this.#list(session, call.query));
		case "GET sessions/":
			return this.#json(rs, 200, { id: session.id, object: "session", status: session.status });
		case "POST sessions/token":
			return this.#json(rs, 200, this.#token(session));
		case "POST sessions/end":
			session.status = "ended";
			return this.#json(rs, 200, { id: session.id, status: session.status });
		}
		throw new Problem(404, "not_found");
	}

	/* ---- sessions ---- */

	#site(call, agent) {
		const site = SITES.find((s) => s.key === call.bearer);
		if (!site)
			throw new Problem(401, "unauthenticated");
		if (call.origin !== this.url)
			throw new Problem(403, "origin_refused");
		if (site.agent !== agent)
			throw new Problem(404, "not_found");
		return site;
	}

	#reach(call, sessionId) {
		const session = this.sessions.get(sessionId);
		if (!session || session.deleted)
			throw new Problem(call.bearer.startsWith("st_") && !session ? 404 : 401, "not_found");
		const expires = session.tokens.get(call.bearer);
		if (!expires || expires < Date.now())
			throw new Problem(401, "token_expired");
		return session;
	}

	#open(site) {
		const session = { id: id("ses_"), site, status: "active", messages: [], tokens: new Map(), turn: null, queue: [] };
		this.sessions.set(session.id, session);
		return session;
	}

	#create(call, rs) {
		const session = this.#open(this.#site(call, call.body.agent));
		this.#json(rs, 201, { id: session.id, object: "session", status: "active", context: call.body.context ?? null, ...this.#token(session) });
	}

	#token(session) {
		const token = id("st_");
		session.tokens.set(token, Date.now() + this.tokenLife);
		return { token, token_expires_at: new Date(Date.now() + this.tokenLife).toISOString() };
	}

	/* ---- messages ---- */

	append(session, role, content, turn = null, extra = {}) {
		const message = { id: id("msg_"), object: "message", seq: session.messages.length + 1, role, content, ...extra,
			turn_id: turn?.id, created_at: new Date().toISOString() };
		session.messages.push(message);
		return message;
	}

	#list(session, query) {
		const limit = Number(query.get("limit") ?? 20);
		const isDescending = query.get("order") === "desc";
		const [after, before] = [Number(query.get("after") ?? 0), Number(query.get("before") ?? Infinity)];
		const rows = session.messages.filter((m) => m.seq > after && m.seq < before);
		if (isDescending)
			rows.reverse();
		const data = rows.slice(0, limit);
		const hasMore = rows.length > limit;
		return { data, has_more: hasMore, next: hasMore ? String(data.at(-1).seq) : null };
	}

	/* ---- turns ---- */

	async #post(call, rs, site, session) {
		const text = call.body.message;
		const reach = `${session?.id ?? site.key} ${call.idempotencyKey}`;
		const request = `${call.path} ${call.text}`;
		const known = this.keys.get(reach);
		if (known && known.request !== request)
			throw new Problem(422, "idempotency_key_reused");
		const before = known && this.#expire(known.turn);
		if (before?.status === "running")
			throw new Problem(409, "request_running", { session_id: before.session.id, turn_id: before.id }, { "Retry-After": "0" });
		if (before?.status === "done")
			return this.#stream(rs, before, { isReplay: true });
		this.#refuse(text, call.idempotencyKey);
		const target = before?.session ?? session ?? this.#open(site);
		if (target.status === "ended")
			throw new Problem(409, "session_ended");
		const isRunning = () => target.turn && this.#expire(target.turn).status === "running";
		if (isRunning() && call.body.on_busy !== "queue")
			throw new Problem(409, "turn_running", {}, { "Retry-After": "0" });
		await this.#queue(target, isRunning, rs);
		const turn = this.#begin(target, call.body, { isNew: session === null, before });
		this.keys.set(reach, { request, turn });
		return this.#stream(rs, turn, {});
	}

	/* Waits until those that came before are through. */
	async #queue(session, isRunning, rs) {
		const place = {};
		for (session.queue.push(place); isRunning() || session.queue[0] !== place; await wait(10))
			if (!rs.headersSent) {
				this.#openStream(rs);
				this.#write(rs, "", "queued", { position: session.queue.indexOf(place) + 1 });
			}
		session.queue.shift();
	}

	/* A turn whose lease has run out has failed. */
	#expire(turn) {
		if (turn.status === "running" && turn.leaseUntil < Date.now())
			this.#end(turn, { code: "worker_lost", detail: "the worker that ran this turn was lost; try again" });
		return turn;
	}

	#refuse(text, key) {
		const times = (this.refusals.get(key) ?? 0) + 1;
		this.refusals.set(key, times);
		if (text.includes("!busy") || (text.includes("!503") && times <= 2))
			throw new Problem(503, "busy", {}, { "Retry-After": "0" });
		if (text.includes("!refuse"))
			throw new Problem(400, "invalid_request");
	}

	/* A turn; `before` is the failed one whose key is tried again: its message is kept. */
	#begin(session, { message: text, client_id: clientId }, { isNew, before }) {
		const turn = { id: id("trn_"), session, status: "running", result: "", error: null, text, isAgain: Boolean(before), leaseUntil: Infinity,
			log: [], size: 0, cuts: 0, steps: [] };
		turn.user = before?.user ?? this.append(session, "user", text, turn, { client_id: clientId });
		turn.credentials = isNew ? this.#token(session) : {};
		session.turn = turn;
		this.turns.set(turn.id, turn);
		turn.listeners = new Set();
		this.#run(turn);
		return turn;
	}

	/* Adds an event to the turn's log: its position is that behind it, in bytes. */
	#log(turn, event, data) {
		turn.size += Buffer.byteLength(event === "delta" ? data.text : JSON.stringify({ event, ...data }) + "..");
		turn.log.push({ pos: turn.size, event, data });
		turn.result = event === "delta" ? turn.result + data.text : event === "tool" ? turn.result : "";
		turn.listeners.forEach((listener) => listener(event, data, turn.size));
	}

	/* The agent: says back what it heard, word by word. */
	async #run(turn) {
		const { text } = turn;
		await wait(text.includes("!think") ? 800 : 20);
		if (text.includes("!tools"))
			await this.#useTools(turn);
		if (text.includes("!reset")) {
			await this.#say(turn, "You said nothing that I ");
			this.#log(turn, "reset", { reason: "provider_cut" });
		}
		if (await this.#say(turn, `You said: ${text}`))
			this.#end(turn, null);
	}

	async #useTools(turn) {
		for (const [index, said] of ["Let me see what there is.", ""].entries()) {
			if (!(await this.#say(turn, said)))
				return;
			const call = { id: `call_${index}`, name: "look_up", arguments: "{\"secret\":\"argument\"}" };
			const result = { tool_call_id: call.id, name: call.name, result: "secret result", is_error: index === 1, duration_ms: 5 };
			this.#log(turn, "step", { index, text: said, tool_calls: [call] });
			await wait(turn.text.includes("!slow") ? 500 : 30);
			this.#log(turn, "tool", { index, ...result });
			turn.steps.push({ index, text: said, tool_calls: [call], results: [result] });
		}
	}

	/* Says it word by word; returns whether it came to the end. */
	async #say(turn, said) {
		const { text } = turn;
		const isKilled = /!lost|!vanish/.test(text) && !turn.isAgain;
		const isRefused = text.includes("!error") || (text.includes("!flaky") && !turn.isAgain);
		for (const word of said.match(/\s*\S+\s*/gu) ?? []) {
			if (turn.status !== "running")
				return false;
			this.#log(turn, "delta", { text: word });
			await wait(text.includes("!slow") ? 120 : this.delay);
			if (text.includes("!die") && turn.result.length > 15)
				return void setTimeout(() => this.#end(turn, { code: "provider_cut", detail: "The provider's answer broke off" }), 700);
			if (isKilled && turn.result.length > 15) {
				turn.leaseUntil = Date.now() + this.lease;
				setTimeout(() => this.#expire(turn), this.lease + 10);
				return turn.listeners.forEach((listener) => listener("killed"));
			}
			if (isRefused && turn.result.length > 15)
				return void this.#end(turn, { code: "provider_failed", detail: "The provider failed" });
		}
		return turn.status === "running";
	}

	/* Stores what came of it, all at once. */
	#end(turn, error, finish = "stop") {
		turn.status = error ? "failed" : finish === "cancelled" ? "cancelled" : "done";
		turn.error = error;
		turn.finish = finish;
		if (!error) {
			for (const { text, tool_calls: calls, results } of turn.steps) {
				this.append(turn.session, "assistant", text, turn, { tool_calls: calls });
				results.forEach(({ tool_call_id, result }) => this.append(turn.session, "tool", result, turn, { tool_call_id }));
			}
			const extra = finish === "cancelled" ? { incomplete: true } : {};
			turn.answer = turn.result === "" ? null : this.append(turn.session, "assistant", turn.result, turn, extra);
		}
		turn.listeners.forEach((listener) => listener(...this.#lastEvent(turn), turn.size + 1));
	}

	#lastEvent(turn) {
		const ids = { session_id: turn.session.id, turn_id: turn.id };
		if (turn.error)
			return ["error", { ...turn.error, status: 502, ...ids }];
		return ["done", { ...ids, result: turn.result, success: turn.finish === "stop", finish: turn.finish, message: turn.answer, user_message: turn.user,
			usage: {}, steps: turn.steps, ...turn.credentials }];
	}

	#openStream(rs, headers = {}) {
		if (!rs.headersSent)
			rs.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store", ...headers });
		rs.write(": open\n\n");
	}

	#write(rs, eventId, event, data) {
		rs.write(`${eventId ? `id: ${eventId}\n` : ""}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
	}

	/* The answer to a POST. */
	#stream(rs, turn, { isReplay }) {
		if (turn.text.includes("!drop") && !isReplay)
			return rs.destroy();
		if (turn.text.includes("!vanish") && !turn.isAgain && !isReplay)
			return turn.listeners.add((event) => event === "killed" && rs.destroy());
		this.#openStream(rs, isReplay ? { "Idempotent-Replayed": "true" } : {});
		this.#write(rs, `${turn.id}:0`, "turn", { session_id: turn.session.id, turn_id: turn.id, user_message: turn.user, ...turn.credentials });
		if (isReplay)
			this.#write(rs, `${turn.id}:1`, "delta", { text: turn.result });
		this.#attach(rs, turn, isReplay);
	}

	/* GET …/stream: what was missed, then what comes. */
	#replay(call, rq, rs, turn) {
		const [turnId, at] = (rq.headers["last-event-id"] ?? `${turn.id}:${call.query.get("after") ?? 0}`).split(":");
		if (turnId !== turn.id || !/^\d+$/.test(at ?? ""))
			throw new Problem(400, "invalid_request");
		const isBeyond = Number(at) > turn.size + 1;
		const from = isBeyond ? 0 : Number(at);
		this.#openStream(rs);
		if (isBeyond)
			this.#write(rs, `${turn.id}:0`, "reset", { reason: "beyond" });
		else if (from === 0)
			this.#write(rs, `${turn.id}:0`, "turn", { session_id: turn.session.id, turn_id: turn.id, user_message: turn.user });
		const missed = turn.log.filter(({ pos }) => pos > from);
		while (missed.length > 0) { /* text that stands together is one event */
			let { pos, event, data } = missed.shift();
			for (; event === "delta" && missed[0]?.event === "delta"; { pos } = missed.shift())
				data = { text: data.text + missed[0].data.text };
			this.#write(rs, `${turn.id}:${pos}`, event, data);
		}
		this.#attach(rs, turn, false);
	}

	#attach(rs, turn, isWhole) {
		let n = 0;
		const onEvent = (event, data, pos) => {
			if (event === "killed")
				return rs.destroy();
			this.#write(rs, `${turn.id}:${pos}`, event, data);
			if (turn.text.includes("!die") && ++n > 2 || turn.text.includes("!cut") && ++n > 2 && turn.cuts++ < 3)
				rs.destroy();
			if (turn.text.includes("!upset") && event === "delta" && turn.cuts++ < 2) {
				this.#write(rs, `${turn.id}:${pos}`, "error", { code: "unavailable", status: 503, session_id: turn.session.id, turn_id: turn.id });
				rs.end();
				turn.listeners.delete(onEvent);
			}
			if (event === "done" || event === "error")
				rs.end();
		};
		rs.on("close", () => turn.listeners.delete(onEvent));
		if (turn.status === "running")
			turn.listeners.add(onEvent);
		else
			onEvent(...this.#lastEvent(turn), turn.size + 1);
	}

	#cancel(rs, turn) {
		if (turn.text.includes("!deaf") && !turn.isAsked) {
			turn.isAsked = true;
			throw new Problem(503, "busy", {}, { "Retry-After": "0" });
		}
		if (turn.status === "running" && !turn.text.includes("!stuck"))
			this.#end(turn, null, "cancelled");
		return this.#json(rs, 200, this.#view(turn));
	}

	#turn(session, turnId) {
		const turn = this.turns.get(turnId);
		if (!turn || turn.session !== session)
			throw new Problem(404, "not_found");
		return this.#expire(turn);
	}

	#listTurns(session, query) {
		const turns = [...this.turns.values()].filter((turn) => turn.session === session).map((turn) => this.#view(this.#expire(turn)));
		return { data: turns.filter(({ status }) => status === (query.get("status") ?? status)).reverse(), has_more: false, next: null };
	}

	#view(turn) {
		return { id: turn.id, object: "turn", session_id: turn.session.id, status: turn.status, user_seq: turn.user.seq,
			answer_seq: turn.answer?.seq ?? null, error: turn.error, result: turn.result, ended_at: turn.answer?.created_at ?? null };
	}

	/* ---- answers ---- */

	#json(rs, status, body, headers = {}) {
		rs.writeHead(status, { "Content-Type": "application/json", "X-Request-Id": id("req_"), ...headers });
		rs.end(JSON.stringify(body));
	}

	#fail(rs, error) {
		if (!(error instanceof Problem))
			console.error(error);
		const { status = 500, code = "internal_error", extra = {}, headers = {} } = error;
		if (!rs.headersSent)
			this.#json(rs, status, { type: "about:blank", title: code, status, code, ...extra }, { "Content-Type": "application/problem+json", ...headers });
	}

	async #static(path, rs) {
		if (path === "/demo/config.json")
			return this.#json(rs, 200, { sites: SITES });
		const page = this.extraPages.get(path);
		const file = join(HTDOCS, normalize(path.endsWith("/") ? `${path}index.html` : path));
		const body = page ?? (await readFile(file).catch(() => null));
		rs.writeHead(body === null ? 404 : 200, {
			"Content-Type": page ? TYPES[".html"] : TYPES[extname(file)] ?? "application/octet-stream",
			"Content-Security-Policy": CSP, "Cache-Control": "no-store",
		});
		rs.end(body ?? "not found");
	}
}

if (process.argv[1] === fileURLToPath(import.meta.url))
	console.log((await new MockServer().listen()).url + "/demo/");
