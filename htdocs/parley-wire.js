/* SPDX-License-Identifier: MIT */
/* parley-wire: what goes over the wire for parley-client: one HTTP call, its errors, server-sent events, and when to try again. */

const HEADER_TIMEOUT_MS = 30000;
const MAX_RETRY_AFTER_S = 60;

/* Codes of an answer that says: not now, the same request may succeed later. */
const RETRIABLE_STATUS = new Set([429, 502, 503, 504]);
const RETRIABLE_CODES = new Set(["network", "turn_running", "request_running"]);

/* Every failure the client reports. `code` is the server's, or "network", "cancelled", "protocol" or "session_lost". */
export class ParleyError extends Error {
	constructor({ code, status = 0, detail = "", retryAfter = null, sessionId = null, turnId = null, requestId = null, cause }) {
		super(detail || code, cause === undefined ? undefined : { cause });
		this.name = "ParleyError";
		this.code = code;
		this.status = status;
		this.detail = detail;
		this.retryAfter = retryAfter;
		this.sessionId = sessionId;
		this.turnId = turnId;
		this.requestId = requestId;
	}

	/* From a problem document, the data of an `error` event or the error of a turn. */
	static from(problem, status = 0, retryAfter = null) {
		return new ParleyError({
			code: typeof problem?.code === "string" ? problem.code : "internal_error",
			status: problem?.status ?? status,
			detail: problem?.detail ?? problem?.title ?? "",
			retryAfter: problem?.retry_after ?? retryAfter,
			sessionId: problem?.session_id ?? null,
			turnId: problem?.turn_id ?? null,
			requestId: problem?.request_id ?? null,
		});
	}

	/*
	 * Whether the very same request may be sent again by itself. A problem that names a turn, unless it says that the turn runs, is the end of a
	 * turn that was begun (its message is stored): only the visitor decides whether to ask once more.
	 */
	get isRetriable() {
		return this.isPassing && (this.turnId === null || RETRIABLE_CODES.has(this.code));
	}

	/* Whether it may be over in a moment, whatever was asked for. */
	get isPassing() {
		return RETRIABLE_CODES.has(this.code) || (RETRIABLE_STATUS.has(this.status) && this.code !== "spend_cap_reached");
	}

	/* The stored session cannot be used any more; the next message needs a new one. */
	get isSessionLost() {
		return this.status === 401 || this.status === 404 || this.code === "session_ended";
	}
}

/* Milliseconds to wait before attempt n + 2: doubles up to the cap; half of it is random, so that clients spread out. */
export function backoff(attempt, { base = 500, cap = 15000, random = Math.random } = {}) {
	const full = Math.min(cap, base * 2 ** Math.min(attempt, 30));
	return full / 2 + (full / 2) * random();
}

/* Milliseconds of the pause after failure n (from 0): the backoff, or longer where the server asks for it, within reason. */
export function pauseLength(n, retryAfter, options) {
	return Math.max(backoff(n, options), Math.min(retryAfter ?? 0, MAX_RETRY_AFTER_S) * 1000);
}

/* Seconds of a Retry-After header (a number or a date), or null. */
export function parseRetryAfter(value, now = Date.now()) {
	if (value === null || value === undefined || value.trim() === "")
		return null;
	if (/^\s*\d+\s*$/.test(value))
		return Number(value);
	const at = Date.parse(value);
	return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - now) / 1000));
}

/* 128 random bits as hex. (crypto.randomUUID exists in secure contexts only; sites on plain http are served too.) */
export function newId() {
	return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/* Waits; rejects with the code "cancelled" as soon as the signal aborts. */
export function sleep(ms, signal) {
	return new Promise((resolve, reject) => {
		const cancel = () => {
			clearTimeout(timer);
			reject(new ParleyError({ code: "cancelled" }));
		};
		const timer = setTimeout(() => {
			signal?.removeEventListener("abort", cancel);
			resolve();
		}, ms);
		if (signal?.aborted)
			cancel();
		signal?.addEventListener("abort", cancel, { once: true });
	});
}

/* Waits until the machine is online, without using up attempts; calls onOffline first when it is not. */
export async function whenOnline(signal, onOffline) {
	while (globalThis.navigator?.onLine === false && globalThis.addEventListener) {
		onOffline();
		await new Promise((resolve) => {
			globalThis.addEventListener("online", resolve, { once: true });
			signal.addEventListener("abort", resolve, { once: true });
		});
		if (signal.aborted)
			throw new ParleyError({ code: "cancelled" });
	}
}

/* Watches the page: onLook() when it is looked at, onOnline() when the network is back, onStorage(key) when another page stored something. */
export function watchPage({ onLook, onOnline, onStorage }, signal) {
	const look = () => globalThis.document?.visibilityState !== "hidden" && onLook();
	globalThis.document?.addEventListener("visibilitychange", look, { signal });
	globalThis.addEventListener?.("focus", look, { signal });
	globalThis.addEventListener?.("online", onOnline, { signal });
	globalThis.addEventListener?.("storage", (event) => onStorage(event.key), { signal });
}

/*
 * Parses server-sent events from pieces of any size: push() takes bytes and returns the events that they completed, each
 * { event, data, id }. Line ends are \n, \r and \r\n, split anywhere; characters too; comments and unknown fields are skipped.
 */
export class EventStreamParser {
	#decoder = new TextDecoder();
	#line = "";
	#afterCr = false;
	#event = "";
	#data = null;
	#id = "";

	push(bytes) {
		let text = this.#decoder.decode(bytes, { stream: true });
		if (text === "")
			return [];
		if (this.#afterCr && text.startsWith("\n"))
			text = text.slice(1);
		this.#afterCr = text.endsWith("\r");
		const lines = text.split(/\r\n|\n|\r/);
		lines[0] = this.#line + lines[0];
		this.#line = lines.pop();
		return lines.map((line) => this.#take(line)).filter((event) => event !== null);
	}

	/* One whole line; returns the event that an empty line completes, or null. */
	#take(line) {
		if (line === "")
			return this.#complete();
		const colon = line.indexOf(":");
		const field = colon < 0 ? line : line.slice(0, colon);
		const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
		if (field === "data")
			this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
		else if (field === "event")
			this.#event = value;
		else if (field === "id" && !value.includes("\0"))
			this.#id = value;
		return null;
	}

	#complete() {
		const event = this.#data === null ? null : { event: this.#event || "message", data: this.#data, id: this.#id };
		this.#event = "";
		this.#data = null;
		return event;
	}
}

/*
 * The events of a response body. Ends when the body ends; an event without its empty line is not delivered. Throws the code
 * "network" when the connection breaks, or when nothing at all (not even a heartbeat) comes for idleMs.
 */
export async function* readEvents(body, { idleMs = 45000 } = {}) {
	const parser = new EventStreamParser();
	const reader = body.getReader();
	try {
		for (;;) {
			const { done, value } = await readWithin(reader, idleMs);
			if (done)
				return;
			yield* parser.push(value);
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}

async function readWithin(reader, idleMs) {
	let timer;
	const idle = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error("the stream is silent")), idleMs);
	});
	try {
		return await Promise.race([reader.read(), idle]);
	} catch (cause) {
		throw networkError(cause);
	} finally {
		clearTimeout(timer);
	}
}

function networkError(cause) {
	return new ParleyError({ code: "network", detail: "The connection failed.", cause });
}

/*
 * One request. Returns the response of a success; throws ParleyError for every other answer and for none. The signal also
 * ends a body that is still being read.
 */
export async function call(fetch, method, url, { bearer, idempotencyKey, lastEventId, body, accept = "application/json", signal } = {}) {
	const headers = { Accept: accept };
	if (lastEventId)
		headers["Last-Event-ID"] = lastEventId;
	if (bearer)
		headers.Authorization = `Bearer ${bearer}`;
	if (idempotencyKey)
		headers["Idempotency-Key"] = idempotencyKey;
	if (body !== undefined)
		headers["Content-Type"] = "application/json";
	const response = await fetchWithin(fetch, url, {
		method, headers,
		body: body === undefined ? undefined : JSON.stringify(body),
		cache: "no-store",
		credentials: "omit",
	}, signal);
	if (response.ok)
		return response;
	const problem = await response.json().catch(() => null);
	throw ParleyError.from(problem ?? { code: statusCode(response.status), detail: response.statusText }, response.status,
		parseRetryAfter(response.headers.get("Retry-After")));
}

/* The code for an answer that is no problem document: a proxy's page, not the server's. */
function statusCode(status) {
	return status >= 502 && status <= 504 ? "unavailable" : status === 413 ? "body_too_large" : "protocol";
}

async function fetchWithin(fetch, url, init, signal) {
	if (signal?.aborted)
		throw new ParleyError({ code: "cancelled" });
	const control = new AbortController();
	const timer = setTimeout(() => control.abort(), HEADER_TIMEOUT_MS);
	/* The caller's signal also ends the reading of the body, so it stays connected. */
	signal?.addEventListener("abort", () => control.abort(), { once: true });
	try {
		return await fetch(url, { ...init, signal: control.signal });
	} catch (cause) {
		throw signal?.aborted ? new ParleyError({ code: "cancelled", cause }) : networkError(cause);
	} finally {
		clearTimeout(timer);
	}
}

/* The JSON of a response; a body that breaks off is a failed connection. */
export async function readJson(response) {
	try {
		return await response.json();
	} catch (cause) {
		throw networkError(cause);
	}
}
