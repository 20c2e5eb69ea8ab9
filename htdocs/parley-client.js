/* SPDX-License-Identifier: MIT */
/*
 * parley-client: a conversation with one agent, without any display: the session and its token, the messages, sending with
 * the answer as an async iterator, reconnecting. `<parley-chat>` shows it; a page with its own display uses it directly:
 *
 *	const client = new ParleyClient({ key: "pk_…", agent: "helpdesk" });
 *	await client.start();
 *	for await (const event of client.send("Hello"))
 *		if (event.type === "delta") show(event.text);
 *
 * Rules it keeps: a message has one id for all its attempts (Idempotency-Key), so that a retry never doubles it; messages go out one
 * after the other, in the order they were typed; a broken stream is continued by asking for its turn; whatever the
 * visitor typed and the server did not accept is given back, never lost.
 */

import { ParleyError, backoff, newId, sleep, whenOnline } from "./parley-wire.js";
import { ParleyStore, browserStorage } from "./parley-store.js";
import { SessionAccess } from "./parley-session.js";
import { Transcript, contentText } from "./parley-transcript.js";
import { Feed, answerEvents, followTurn } from "./parley-turn.js";

export { ParleyError, EventStreamParser, backoff, parseRetryAfter, readEvents } from "./parley-wire.js";
export { contentText } from "./parley-transcript.js";

const PAGE = 50;
const CATCH_UP_PAGE = 100;
const MAX_ATTEMPTS = 6;
const MAX_WAIT_ATTEMPTS = 120; /* while another turn runs: it ends by itself, so it is worth more patience */
const MAX_RETRY_AFTER_S = 60;

export class ParleyClient extends EventTarget {
	#store;
	#session;
	#transcript = new Transcript(() => this.#changed());
	#queue = []; /* entries { id, text, target, item, feed } not yet accepted by the server, in order */
	#isBlocked = false; /* the head of the queue failed and waits for retry() */
	#isPumping = false;
	#turn = null; /* { done } of the turn being followed, by stream or by polling */
	#older = null; /* cursor of the next page upwards */
	#isLoaded = false;
	#refreshing = null;
	#isConnected = true;
	#life = new AbortController(); /* ends everything that belongs to the session shown */
	#listeners = null; /* ends the listeners of start() */
	#retryBase;

	constructor({ key, agent, base = "", name = "", fetch, localStorage, sessionStorage, retryBase = 500 }) {
		super();
		if (!key || !agent)
			throw new TypeError("ParleyClient needs a key and an agent");
		const prefix = base.replace(/\/+$/, "");
		this.#retryBase = retryBase;
		this.#store = new ParleyStore({
			origin: globalThis.location ? new URL(prefix || "/", globalThis.location.href).href : prefix,
			key, agent, name,
			local: localStorage === undefined ? browserStorage("localStorage") : localStorage,
			session: sessionStorage === undefined ? browserStorage("sessionStorage") : sessionStorage,
		});
		this.#session = new SessionAccess({
			key, agent, base: prefix, store: this.#store,
			fetch: fetch ?? ((url, init) => globalThis.fetch(url, init)),
		});
	}

	/* All messages known here, oldest first. Not to be changed. */
	get messages() {
		return this.#transcript.items.slice();
	}

	/* Whether loadOlder() would bring more. */
	get hasOlder() {
		return this.#older !== null;
	}

	/* False while the server cannot be reached and the client keeps trying. */
	get isConnected() {
		return this.#isConnected;
	}

	/* Whether an answer is on its way. */
	get isBusy() {
		return this.#turn !== null;
	}

	/* { id, expiresAt } of the session, or null before the first message. */
	getSession() {
		const { record } = this.#session;
		return record && { id: record.session_id, expiresAt: record.expires ?? null };
	}

	/* ---- life ---- */

	/* Loads the stored session's newest messages, goes on with an answer that was running, sends what still waits. */
	async start() {
		this.#listen();
		this.#session.open();
		for (const { id, text, target } of this.#store.readOutbox())
			if (!target || target === this.#session.id)
				this.#enqueue({ id, text, target });
		await this.refresh();
		this.#pump();
	}

	/* Ends all requests and listeners. What is stored stays, and start() goes on from there. */
	stop() {
		this.#listeners?.abort();
		this.#listeners = null;
		this.#drop();
	}

	/* Fetches what came since; called by itself when the page is looked at again. */
	refresh() {
		if (this.#session.record && !this.#refreshing) {
			const work = this.#guard(() => (this.#isLoaded ? this.#catchUp() : this.#load())).finally(() => {
				this.#refreshing = this.#refreshing === work ? null : this.#refreshing;
			});
			this.#refreshing = work;
		}
		return this.#refreshing ?? Promise.resolve();
	}

	/* Fetches one page of older messages; returns whether there are more. */
	async loadOlder() {
		const before = this.#older;
		if (before !== null)
			await this.#guard(async () => {
				const page = await this.#page({ order: "desc", limit: PAGE, before });
				if (this.#older === before)
					this.#take(page);
			});
		return this.hasOlder;
	}

	/* Leaves this session; it stays on the server. The next message opens a new one. */
	async newSession() {
		this.#session.leave();
		this.#forget();
	}

	/* As newSession, and ends the session on the server too. */
	async clearSession() {
		const { record } = this.#session;
		await this.newSession();
		if (record)
			await this.#session.end(record).catch(() => {});
	}

	/* Opens a session now, before any message, with what the API allows a browser to set (context, title, tags, metadata). */
	async createSession(fields = {}) {
		const { session, response } = await this.#session.create(fields);
		const { token, token_expires_at, ...rest } = session;
		await this.newSession();
		this.#adopt({ session_id: session.id, token, token_expires_at }, response);
		return rest;
	}

	/* ---- sending ---- */

	/*
	 * Queues a message. It is sent whether or not the result is read: an async iterable of
	 * { type: "turn" | "delta" | "text" | "done", … } that throws ParleyError when it fails; `text` replaces all that came before.
	 */
	send(text) {
		if (typeof text !== "string" || text.trim() === "")
			throw new TypeError("an empty message");
		const entry = this.#enqueue({ id: newId(), text: text.toWellFormed?.() ?? text, target: undefined });
		this.#saveQueue();
		this.#unblock();
		return entry.feed;
	}

	/* Sends a failed message again: with its own id when the server never had it, as a new one when its turn failed. */
	retry(item) {
		const entry = this.#queue.find((other) => other.item === item);
		if (!entry) {
			this.#transcript.set(item, { state: "sent", error: null });
			return this.send(item.text);
		}
		entry.feed = new Feed();
		this.#unblock();
		return entry.feed;
	}

	#enqueue({ id, text, target }) {
		const state = this.#isPumping || this.#turn ? "waiting" : "sending";
		const item = this.#transcript.add({ key: id, role: "user", text, state });
		const entry = { id, text, target, item, feed: new Feed() };
		this.#queue.push(entry);
		return entry;
	}

	#unblock() {
		this.#isBlocked = false;
		this.#queue.forEach(({ item }) => item.state === "failed" && this.#transcript.set(item, { state: "waiting", error: null }));
		this.#pump();
	}

	async #pump() {
		if (this.#isPumping)
			return;
		this.#isPumping = true;
		while (this.#queue.length > 0 && !this.#isBlocked) {
			await this.#turn?.done;
			if (this.#queue.length > 0)
				await this.#deliver(this.#queue[0]);
		}
		this.#isPumping = false;
		this.#reconcile();
	}

	/* One message until its answer is there, or it failed. Throws nothing. */
	async #deliver(entry) {
		const { signal } = this.#life;
		try {
			const begun = await this.#post(entry, signal);
			await this.#follow(begun.turn.turn_id, entry.item, entry.feed, begun.events);
			entry.feed.end();
		} catch (error) {
			if (!signal.aborted)
				this.#undelivered(entry, error);
			entry.feed.end(signal.aborted ? new ParleyError({ code: "cancelled" }) : error);
		}
	}

	/* The message was not accepted, or its turn failed: decide what becomes of it. */
	#undelivered(entry, error) {
		if (entry.item.seq !== null)
			return; /* #follow has marked it */
		if (error.isSessionLost && entry.target)
			return this.#lose(error);
		if (error.turnId !== null && this.#session.record) {
			this.#dequeue(entry);
			this.#transcript.remove(entry.item);
			this.refresh(); /* brings the stored message, and its turn's failure */
		} else if (error.isRetriable || error.status >= 500) {
			this.#isBlocked = true;
			this.#transcript.set(entry.item, { state: "failed", error });
		} else {
			this.#dequeue(entry);
			this.#transcript.remove(entry.item);
			this.#emit("return", { text: entry.text, error });
		}
		this.#emit("error", error);
	}

	/*
	 * Gets a message accepted. Where it goes is decided once, before the first attempt. While it opens a session, a lock keeps
	 * a second tab from opening another.
	 */
	async #post(entry, signal) {
		const locks = globalThis.navigator?.locks;
		if (!locks || this.#session.record || entry.target) {
			this.#decide(entry);
			return this.#attempt(entry, signal);
		}
		const begun = await locks.request(this.#store.id, { signal }, () => {
			this.#decide(entry);
			return entry.target === null ? this.#attempt(entry, signal) : null;
		});
		return begun ?? this.#attempt(entry, signal);
	}

	#decide(entry) {
		if (!this.#session.record) {
			this.#session.open();
			if (this.#session.record)
				this.#emit("session", this.getSession());
			this.refresh();
		}
		if (entry.target === undefined)
			entry.target = this.#session.id;
		this.#saveQueue();
	}

	async #attempt(entry, signal) {
		for (let attempt = 0; ; attempt++) {
			await whenOnline(signal, () => {
				this.#connected(false);
				this.#transcript.set(entry.item, { state: "waiting" });
			});
			try {
				const begun = await this.#postOnce(entry, signal);
				this.#connected(true);
				return begun;
			} catch (error) {
				const isWaiting = error.code === "turn_running" || error.code === "request_running";
				if (signal.aborted || !error.isRetriable || attempt + 1 >= (isWaiting ? MAX_WAIT_ATTEMPTS : MAX_ATTEMPTS))
					throw error;
				this.#connected(error.code !== "network");
				this.#transcript.set(entry.item, { state: "waiting" });
				await this.#pause(isWaiting ? Math.min(attempt, 2) : attempt, error.retryAfter, signal);
			}
		}
	}

	/* One POST; returns { turn, events } once the server has accepted the message. */
	async #postOnce(entry, signal) {
		this.#transcript.set(entry.item, { state: "sending" });
		const response = await this.#session.post(entry, signal);
		const events = answerEvents(response);
		for (;;) {
			const { done, value } = await events.next();
			if (done)
				throw new ParleyError({ code: "network", detail: "The connection ended." });
			if (signal.aborted)
				throw new ParleyError({ code: "cancelled" });
			if (value.type === "error")
				throw ParleyError.from(value.data);
			if (value.type === "turn" || value.type === "done") {
				this.#begun(entry, value.data, response);
				return { turn: value.data, events: value.type === "done" ? [value] : events };
			}
		}
	}

	/* The server has the message: it leaves the queue and takes its place among the stored ones. */
	#begun(entry, turn, response) {
		if (turn.token)
			this.#adopt(turn, response);
		this.#dequeue(entry);
		const { item } = entry;
		const { seq, created_at: createdAt } = turn.user_message;
		this.#transcript.set(item, { seq, createdAt, turnId: turn.turn_id, state: "sent" });
		this.#saw(seq, { id: turn.turn_id, seq });
		this.#emit("message", { role: "user", text: item.text, seq, turnId: turn.turn_id });
		entry.feed.push({ type: "turn", sessionId: turn.session_id, turnId: turn.turn_id, seq });
	}

	/* ---- the answer ---- */

	/* Takes the answer of a turn to its end; feed and events are null when it is not this page that asked. */
	async #follow(turnId, user, feed, events) {
		const { signal } = this.#life;
		const draft = this.#transcript.draft(turnId, user);
		const work = this.#answer({ turnId, draft, feed, events, signal });
		const turn = { done: work.catch(() => {}) };
		this.#turn = turn;
		try {
			await work;
		} catch (error) {
			if (!signal.aborted)
				this.#failed(user, draft, error);
			throw error;
		} finally {
			if (this.#turn === turn)
				this.#turn = null;
			this.#changed();
		}
	}

	async #answer({ turnId, draft, feed, events, signal }) {
		const { message, isPolled } = await followTurn({
			turnId, events, signal,
			ask: async () => {
				const turn = await this.#session.get(`/turns/${encodeURIComponent(turnId)}`, signal);
				this.#connected(true);
				return turn;
			},
			retry: (failures, error) => {
				this.#connected(false);
				return this.#pause(failures, error.retryAfter, signal);
			},
			onText: (text) => this.#grow(draft, text, feed),
		});
		if (isPolled)
			await this.#guard(() => this.#catchUp(message.seq));
		if (!signal.aborted)
			this.#answered(draft, message, feed);
	}

	/* What a poll brings may lag behind what was streamed: text never shrinks on the way. */
	#grow(draft, text, feed) {
		if (draft.text.startsWith(text) || draft.seq !== null)
			return;
		const isMore = text.startsWith(draft.text);
		feed?.push(isMore ? { type: "delta", text: text.slice(draft.text.length) } : { type: "text", text });
		this.#transcript.set(draft, { text });
	}

	/* The answer is stored. A refresh may have brought it already. */
	#answered(draft, message, feed) {
		if (draft.seq === null) {
			const text = contentText(message.content);
			this.#grow(draft, text, feed);
			this.#transcript.set(draft, { text, seq: message.seq, createdAt: message.created_at ?? null, state: "done" });
		}
		this.#saw(draft.seq, null);
		const detail = { role: "assistant", text: draft.text, seq: draft.seq, turnId: draft.turnId };
		feed?.push({ type: "done", ...detail });
		this.#emit("message", detail);
	}

	#failed(user, draft, error) {
		if (draft.text === "")
			this.#transcript.remove(draft);
		else
			this.#transcript.set(draft, { state: "failed" });
		this.#transcript.set(user, { state: "failed", error });
		if (error.isSessionLost && error.turnId === null)
			this.#lose(error);
		else
			this.#emit("error", error);
	}

	/* An answer was running when the page was left, or runs for another tab: go on with it. */
	#resume() {
		const last = this.#transcript.last();
		const stored = this.#session.record?.turn;
		if (!last || last.role !== "user" || last.state === "failed" || this.#turn)
			return;
		const turnId = last.turnId ?? (stored?.seq === last.seq ? stored.id : null);
		if (turnId)
			this.#follow(turnId, last, null, null).catch(() => {});
	}

	/* ---- messages ---- */

	async #load() {
		const { signal } = this.#life;
		for (let attempt = 0; ; attempt++) {
			try {
				this.#take(await this.#page({ order: "desc", limit: PAGE, min_seq: this.#session.record.seq || undefined }));
				this.#isLoaded = true;
				this.#connected(true);
				return this.#resume();
			} catch (error) {
				if (!error.isRetriable || signal.aborted)
					throw error;
				this.#connected(false);
				await this.#pause(attempt, error.retryAfter, signal);
			}
		}
	}

	async #catchUp(atLeast = 0) {
		for (let isMore = true; isMore; ) {
			const { seq } = this.#transcript;
			const page = await this.#page({
				order: "asc", limit: CATCH_UP_PAGE, after: seq || undefined,
				min_seq: Math.max(seq, atLeast, this.#session.record.seq) || undefined,
			});
			page.data.forEach((message) => this.#transcript.accept(message));
			this.#saw(this.#transcript.seq);
			isMore = page.has_more && page.data.length > 0;
		}
		this.#resume();
	}

	#page(query) {
		const known = Object.entries(query).filter(([, value]) => value !== undefined);
		return this.#session.get(`/messages?${new URLSearchParams(known)}`, this.#life.signal);
	}

	/* A page that was read downwards: the newest, or older ones. */
	#take(page) {
		this.#older = page.has_more ? page.next ?? null : null;
		page.data.forEach((message) => this.#transcript.accept(message));
		this.#saw(this.#transcript.seq);
		this.#changed();
	}

	/* The last seq known goes with every read, so that no cache shows this visitor less than it has seen. */
	#saw(seq, turn) {
		this.#transcript.seq = Math.max(this.#transcript.seq, seq ?? 0);
		this.#session.update({ seq: this.#transcript.seq, ...(turn === undefined ? {} : { turn }) });
	}

	/* ---- session ---- */

	#adopt(session, response) {
		if (this.#session.id !== session.session_id)
			this.#transcript.clear(true);
		this.#session.adopt(session, response);
		this.#isLoaded = true;
		this.#emit("session", this.getSession());
	}

	/* The server does not know the session any more: forget it, and give back what was not accepted. */
	#lose(cause) {
		const text = this.#unsentText();
		const error = new ParleyError({ code: "session_lost", status: cause.status, detail: cause.detail, requestId: cause.requestId, cause });
		this.#session.leave();
		this.#forget();
		this.#giveBack(text, error);
		this.#emit("error", error);
	}

	#unsentText() {
		return this.#queue.map((entry) => entry.text).join("\n");
	}

	#giveBack(text, error) {
		if (text !== "")
			this.#emit("return", { text, error });
	}

	#forget() {
		this.#drop();
		this.#saveQueue();
		this.#emit("session", null);
	}

	/* Ends what runs for the session shown, and shows none. */
	#drop() {
		this.#life.abort();
		this.#life = new AbortController();
		this.#queue.splice(0).forEach((entry) => entry.feed.end(new ParleyError({ code: "cancelled" })));
		this.#session.record = null;
		this.#turn = null;
		this.#older = null;
		this.#refreshing = null;
		this.#isLoaded = false;
		this.#isBlocked = false;
		this.#isConnected = true;
		this.#transcript.clear();
	}

	/* Another tab may have opened, left or moved on the session. Never in the middle of sending. */
	#reconcile() {
		const stored = this.#store.read();
		if (this.#isPumping || this.#listeners === null)
			return;
		if ((stored?.session_id ?? null) === this.#session.id) {
			if (stored && this.#isLoaded && stored.seq > this.#transcript.seq)
				this.refresh();
			return;
		}
		const text = this.#unsentText();
		this.#forget();
		this.#giveBack(text, null);
		this.#session.open();
		this.#emit("session", this.getSession());
		this.refresh();
	}

	#listen() {
		const { signal } = (this.#listeners ??= new AbortController());
		const look = () => {
			if (globalThis.document?.visibilityState !== "hidden" && !this.#isPumping)
				this.refresh();
		};
		globalThis.document?.addEventListener("visibilitychange", look, { signal });
		globalThis.addEventListener?.("focus", look, { signal });
		globalThis.addEventListener?.("online", () => {
			this.#unblock();
			look();
		}, { signal });
		globalThis.addEventListener?.("storage", (event) => {
			if (event.key === this.#store.id || event.key === null)
				this.#reconcile();
		}, { signal });
	}

	/* ---- trying again ---- */

	/* Runs a read; a lost session and other failures become events, being cancelled is none. */
	async #guard(work) {
		const { signal } = this.#life;
		try {
			await work();
		} catch (error) {
			if (signal.aborted || error.code === "cancelled")
				return;
			if (error.isSessionLost)
				this.#lose(error);
			else
				this.#emit("error", error);
		}
	}

	#pause(attempt, retryAfter, signal) {
		const asked = Math.min(retryAfter ?? 0, MAX_RETRY_AFTER_S) * 1000;
		return sleep(Math.max(backoff(attempt, { base: this.#retryBase }), asked), signal);
	}

	#dequeue(entry) {
		this.#queue = this.#queue.filter((other) => other !== entry);
		this.#saveQueue();
	}

	#saveQueue() {
		this.#store.writeOutbox(this.#queue.map(({ id, text, target }) => ({ id, text, target })));
	}

	#connected(isConnected) {
		if (this.#isConnected === isConnected)
			return;
		this.#isConnected = isConnected;
		this.#changed();
	}

	#changed() {
		this.dispatchEvent(new Event("change"));
	}

	#emit(type, detail) {
		this.dispatchEvent(new CustomEvent(type, { detail }));
	}
}
