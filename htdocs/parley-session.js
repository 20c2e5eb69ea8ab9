/* SPDX-License-Identifier: MIT */
/* parley-session: the session a page shows: its record in the store, its token and the renewal, and requests made with it. */

import { ParleyError, call, newId, readJson } from "./parley-wire.js";

const RENEW_AGAIN_MS = 60000;

/* When half of a token's life is over, by this machine's clock; the server's clock is read from its Date header where we may. */
function halfLife(expiresAt, response) {
	const now = Date.now();
	const serverNow = Date.parse(response.headers.get("Date") ?? "") || now;
	return now + Math.max(0, (Date.parse(expiresAt) || serverNow) - serverNow) / 2;
}

export class SessionAccess {
	#key;
	#agent;
	#base;
	#fetch;
	#store;
	#renewing = null;

	constructor({ key, agent, base, fetch, store }) {
		this.#key = key;
		this.#agent = agent;
		this.#base = base;
		this.#fetch = fetch;
		this.#store = store;
		this.record = null; /* of the session this page shows; the stored one may be another tab's newer */
	}

	get id() {
		return this.record?.session_id ?? null;
	}

	/* Goes over to the session that is stored, or to none. */
	open() {
		this.record = this.#store.read();
	}

	/* Takes the session that an answer brought: { session_id, token, token_expires_at }. */
	adopt({ session_id, token, token_expires_at }, response) {
		const { seq, turn } = this.id === session_id ? this.record : { seq: 0, turn: null };
		this.record = { session_id, token, expires: token_expires_at, renew_at: halfLife(token_expires_at, response), seq, turn };
		this.#store.write(this.record);
	}

	/* Forgets the session, here and for all tabs. */
	leave() {
		this.#store.write(null);
		this.record = null;
	}

	/* Updates the record: also the stored one, unless another tab has gone on to another session. */
	update(fields) {
		if (!this.record)
			return;
		const stored = this.#store.read();
		const isOurs = stored?.session_id === this.id;
		const next = { ...(isOurs ? stored : this.record), ...fields };
		next.seq = Math.max(next.seq ?? 0, this.record.seq ?? 0);
		if (isOurs && JSON.stringify(next) !== JSON.stringify(stored))
			this.#store.write(next);
		this.record = next;
	}

	/* What is remembered of the request with the message of that seq, if it is the newest and not answered; see parley-store. */
	turnOf(seq) {
		this.update({}); /* another tab may have gone on with it */
		return this.record?.turn?.seq === seq ? this.record.turn : null;
	}

	/* POST /v1/sessions with the publishable key; returns { session, response }. */
	async create(fields) {
		const response = await call(this.#fetch, "POST", `${this.#base}/v1/sessions`, {
			bearer: this.#key, idempotencyKey: newId(), body: { agent: this.#agent, client_type: "web", ...fields },
		});
		return { session: await readJson(response), response };
	}

	/* Ends a session on the server, given its record. */
	end({ session_id, token }) {
		return call(this.#fetch, "POST", this.#url(session_id, "/end"), { bearer: token, body: {} });
	}

	/*
	 * Posts a message, to the session `target` or, when that is null, so that a session is made for it; `options` are further members.
	 * The answer is a stream, or JSON when it is a replay. The same four make the same request, byte by byte, as the server asks of a repeated key.
	 */
	async post({ id, text, target, options }, signal) {
		const bearer = target === null ? this.#key : await this.#token(signal);
		const chat = `${this.#base}/v1/chat/${encodeURIComponent(this.#agent)}/message`;
		return call(this.#fetch, "POST", target === null ? chat : this.#url(target, "/turns"), {
			bearer, signal,
			idempotencyKey: id,
			accept: "text/event-stream, application/json",
			body: { message: text, stream: true, client_id: id, ...options, ...(target === null ? { client_type: "web" } : {}) },
		});
	}

	/* The stream of a turn, behind the event of that id, or from its start. */
	async stream(turnId, lastEventId, signal) {
		const bearer = await this.#token(signal);
		return call(this.#fetch, "GET", this.#url(this.id, `/turns/${encodeURIComponent(turnId)}/stream`), {
			bearer, lastEventId, signal, accept: "text/event-stream",
		});
	}

	/* Stops a turn; returns it as it ended. */
	async cancelTurn(turnId, signal) {
		const bearer = await this.#token(signal);
		return readJson(await call(this.#fetch, "POST", this.#url(this.id, `/turns/${encodeURIComponent(turnId)}/cancel`), { bearer, body: {}, signal }));
	}

	/* The turns that run now, newest first. */
	async runningTurns(signal) {
		return (await this.get("/turns?status=running", signal)).data;
	}

	/* GETs something of the session as JSON. Throws "cancelled" when the signal aborts, also at the very end. */
	async get(rest, signal) {
		const bearer = await this.#token(signal);
		const body = await readJson(await call(this.#fetch, "GET", this.#url(this.id, rest), { bearer, signal }));
		if (signal.aborted)
			throw new ParleyError({ code: "cancelled" });
		return body;
	}

	/* A page of messages; members of the query that are undefined are left out. */
	messages(query, signal) {
		const known = Object.entries(query).filter(([, value]) => value !== undefined);
		return this.get(`/messages?${new URLSearchParams(known)}`, signal);
	}

	#url(sessionId, rest) {
		return `${this.#base}/v1/sessions/${encodeURIComponent(sessionId)}${rest}`;
	}

	/* The session's token, renewed when half its life is over. */
	async #token(signal) {
		this.update({}); /* another tab may have renewed it */
		if (this.record && Date.now() >= (this.record.renew_at ?? 0)) {
			this.#renewing ??= this.#renew(signal).finally(() => {
				this.#renewing = null;
			});
			await this.#renewing;
		}
		if (!this.record || signal.aborted)
			throw new ParleyError({ code: "cancelled" });
		return this.record.token;
	}

	async #renew(signal) {
		const { session_id: id, token } = this.record;
		try {
			const response = await call(this.#fetch, "POST", this.#url(id, "/token"), { bearer: token, body: {}, signal });
			const fresh = await readJson(response);
			if (this.id === id)
				this.update({ token: fresh.token, expires: fresh.token_expires_at, renew_at: halfLife(fresh.token_expires_at, response) });
		} catch (error) {
			if (signal.aborted || error.isSessionLost)
				throw error;
			this.update({ renew_at: Date.now() + RENEW_AGAIN_MS }); /* the old one is still good */
		}
	}
}
