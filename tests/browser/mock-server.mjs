/* SPDX-License-Identifier: MIT */
/*
 * mock-server: serves htdocs/ and the part of the API that a browser uses, in memory, with faults on demand: a message that contains
 *	!slow      is answered slowly
 *	!think     is answered after a pause
 *	!cut       its stream breaks in the middle; the turn goes on
 *	!die       its stream breaks in the middle and the turn fails a little later
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
	requests = []; /* { method, path, idempotencyKey, bearer, body } of all API calls */
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
			method: rq.method, path: url.pathname, query: url.searchParams, origin: rq.headers.origin,
			idempotencyKey: rq.headers["idempotency-key"], bearer: (rq.headers.authorization ?? "").replace("Bearer ", ""),
			body: text === "" ? {} : JSON.parse(text), text,
		};
		this.requests.push(call);
		return this.#route(call, rq, rs);
	}

	#route(call, rq, rs) {
		const [, , kind, name, what, turnId] = call.path.split("/");
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
			return this.#json(rs, 200, this.#turnView(session, turnId));
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
		const session = { id: id("ses_"), site, status: "active", messages: [], tokens: new Map(), turn: null };
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
			throw new Problem(409, "request_running", {}, { "Retry-After": "0" });
		if (before?.status === "done")
			return this.#stream(rs, before, { isReplay: true });
		this.#refuse(text, call.idempotencyKey);
		const target = before?.session ?? session ?? this.#open(site);
		if (target.status === "ended")
			throw new Problem(409, "session_ended");
		if (target.turn && this.#expire(target.turn).status === "running")
			throw new Problem(409, "turn_running", {}, { "Retry-After": "0" });
		const turn = this.#begin(target, call.body, { isNew: session === null, before });
		this.keys.set(reach, { request, turn });
		return this.#stream(rs, turn, {});
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
		const turn = { id: id("trn_"), session, status: "running", result: "", error: null, text, isAgain: Boolean(before), leaseUntil: Infinity };
		turn.user = before?.user ?? this.append(session, "user", text, turn, { client_id: clientId });
		turn.credentials = isNew ? this.#token(session) : {};
		session.turn = turn;
		this.turns.set(turn.id, turn);
		turn.listeners = new Set();
		this.#run(turn);
		return turn;
	}

	/* The agent: says back what it heard, word by word. */
	async #run(turn) {
		const { text } = turn;
		await wait(text.includes("!think") ? 800 : 20);
		const isKilled = /!lost|!vanish/.test(text) && !turn.isAgain;
		const isRefused = text.includes("!error") || (text.includes("!flaky") && !turn.isAgain);
		for (const word of `You said: ${text}`.match(/\s*\S+\s*/gu) ?? []) {
			turn.result += word;
			turn.listeners.forEach((listener) => listener("delta", { text: word }));
			await wait(text.includes("!slow") ? 120 : this.delay);
			if (text.includes("!die") && turn.result.length > 15)
				return wait(700).then(() => this.#end(turn, { code: "provider_cut", detail: "The provider's answer broke off" }));
			if (isKilled && turn.result.length > 15) {
				turn.leaseUntil = Date.now() + this.lease;
				return turn.listeners.forEach((listener) => listener("killed"));
			}
			if (isRefused && turn.result.length > 15)
				return this.#end(turn, { code: "provider_failed", detail: "The provider failed" });
		}
		turn.answer = this.append(turn.session, "assistant", turn.result, turn);
		this.#end(turn, null);
	}

	#end(turn, error) {
		turn.status = error ? "failed" : "done";
		turn.error = error;
		turn.listeners.forEach((listener) => listener(...this.#lastEvent(turn)));
	}

	#lastEvent(turn) {
		const ids = { session_id: turn.session.id, turn_id: turn.id };
		if (turn.error)
			return ["error", { ...turn.error, status: 502, ...ids }];
		return ["done", { ...ids, result: turn.result, success: true, message: turn.answer, user_message: turn.user, usage: {}, steps: [],
			...turn.credentials }];
	}

	#stream(rs, turn, { isReplay }) {
		if (turn.text.includes("!drop") && !isReplay)
			return rs.destroy();
		if (turn.text.includes("!vanish") && !turn.isAgain && !isReplay)
			return turn.listeners.add((event) => event === "killed" && rs.destroy());
		let n = 0;
		const send = (event, data) => rs.write(`id: ${turn.id}:${++n}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
		rs.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store", ...(isReplay ? { "Idempotent-Replayed": "true" } : {}) });
		rs.write(": open\n\n");
		send("turn", { session_id: turn.session.id, turn_id: turn.id, user_message: turn.user, ...turn.credentials });
		const onEvent = (event, data) => {
			if (event === "killed")
				return rs.destroy();
			send(event, data);
			if ((turn.text.includes("!cut") || turn.text.includes("!die")) && n > 3)
				rs.destroy();
			if (event !== "delta")
				rs.end();
		};
		rs.on("close", () => turn.listeners.delete(onEvent));
		if (turn.status === "running")
			turn.listeners.add(onEvent);
		else
			onEvent(...this.#lastEvent(turn));
	}

	#turnView(session, turnId) {
		const turn = this.turns.get(turnId);
		if (!turn || turn.session !== session)
			throw new Problem(404, "not_found");
		this.#expire(turn);
		return { id: turn.id, object: "turn", session_id: session.id, status: turn.status, user_seq: turn.user.seq,
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
