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
 * Rules it keeps: a message has one id for all its attempts (Idempotency-Key), also for those after its turn failed and after a
 * reload, so that a retry never doubles it; messages go out one after the other, in the order they were typed; a broken
 * stream is continued by asking for its turn; a turn whose worker was lost is asked for again without a word; whatever the
 * visitor typed and the server did not accept is given back, never lost.
 */

import { ParleyError, newId, pauseLength, sleep, untilAnswered, watchPage } from "./parley-wire.js";
import { ParleyStore, browserStorage } from "./parley-store.js";
import { SessionAccess } from "./parley-session.js";
import { Transcript, contentText } from "./parley-transcript.js";
import { Feed, followTurn } from "./parley-turn.js";
import { Queue, postUntilTaken } from "./parley-queue.js";

export { ParleyError, EventStreamParser, backoff, parseRetryAfter, readEvents } from "./parley-wire.js";
export { contentText } from "./parley-transcript.js";

const STORAGE_SETTLES_MS = 300;
const PAGE = 50;
const CATCH_UP_PAGE = 100;
const MAX_LOSSES = 3; /* of workers, for one message */

export class ParleyClient extends EventTarget {
	#store;
	#session;
	#transcript = new Transcript(() => this.#changed());
	#queue; /* messages not yet accepted by the server, and those whose failed turns are tried again */
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
		this.#queue = new Queue(this.#store);
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
		this.#queue.save();
		this.#unblock();
		return entry.feed;
	}

	/*
	 * Sends a failed message again, with its own id: the server does not store it twice. A message that others have followed
	 * is sent as a new one, behind them.
	 */
	retry(item) {
		const waiting = this.#queue.of(item);
		if (waiting)
			waiting.feed = new Feed();
		const entry = waiting ?? (this.#isPumping ? null : this.#again(item));
		if (!entry) {
			this.#transcript.set(item, { state: "sent", error: null });
			return this.send(item.text);
		}
		this.#unblock();
		return entry.feed;
	}

	#enqueue({ id, text, target }) {
		const state = this.#isPumping || this.#turn ? "waiting" : "sending";
		const item = this.#transcript.add({ key: id, role: "user", text, state });
		return this.#queue.add({ id, text, target, item });
	}

	/* Queues the request of a stored message once more, in front; null when it is not known any more. */
	#again(item, fields = {}) {
		const turn = this.#session.turnOf(item.seq);
		if (!turn)
			return null;
		if (turn.id === item.turnId)
			this.#saw(item.seq, { ...turn, id: null });
		this.#transcript.answering(item);
		return this.#queue.add({ id: turn.key, text: turn.text, target: turn.target, item, isAgain: true, ...fields });
	}

	/* The turn that another page has begun for this entry meanwhile, as postUntilTaken() would return it, or null. */
	#takenElsewhere({ item, isAgain }) {
		const id = isAgain && this.#session.turnOf(item.seq)?.id;
		return id && id !== item.turnId ? { turn: { turn_id: id }, events: null } : null;
	}

	#unblock() {
		this.#queue.isBlocked = false;
		this.#queue.entries.forEach(({ item }) => item.state === "failed" && this.#transcript.resend(item));
		this.#pump();
	}

	async #pump() {
		if (this.#isPumping)
			return;
		this.#isPumping = true;
		while (this.#queue.head) {
			await this.#turn?.done;
			if (this.#queue.head)
				await this.#deliver(this.#queue.head);
		}
		this.#isPumping = false;
		this.#reconcile();
	}

	/* One message until its answer is there, or it failed. Throws nothing. */
	async #deliver(entry) {
		const { signal } = this.#life;
		try {
			const { turn, events } = await this.#post(entry, signal);
			await this.#follow(turn.turn_id, entry, events);
			entry.feed.end();
		} catch (error) {
			this.#broken(entry, signal.aborted ? new ParleyError({ code: "cancelled" }) : error);
		}
	}

	/* Decides what becomes of a message that was not accepted, or whose turn failed. */
	#broken(entry, error) {
		const { item } = entry;
		if (error.code === "cancelled")
			return entry.feed.end(error);
		const isLost = error.code === "worker_lost" && entry.losses < MAX_LOSSES && !this.#queue.has(entry);
		if (isLost && this.#again(item, { feed: entry.feed, losses: entry.losses + 1 }))
			return this.#pump();
		if (error.isSessionLost && error.turnId === null && (entry.target || !this.#queue.has(entry)))
			this.#lose(error);
		else
			this.#fail(entry, error);
		entry.feed.end(error);
	}

	#fail(entry, error) {
		const { item } = entry;
		const isForLater = error.isRetriable || error.turnId !== null || error.status >= 500;
		if (isForLater || item.seq !== null) {
			this.#queue.isBlocked ||= isForLater && this.#queue.has(entry);
			this.#transcript.unanswered(item, error);
		} else {
			this.#transcript.remove(item);
			this.#emit("return", { text: entry.text, error });
		}
		if (!isForLater)
			this.#queue.remove(entry);
		if (error.code === "idempotency_key_reused")
			this.#session.update({ turn: null });
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
		const taken = await new Promise((resolve, reject) => {
			locks.request(this.#store.id, { signal }, async () => {
				this.#decide(entry);
				if (entry.target !== null)
					return resolve(null);
				const attempt = this.#attempt(entry, signal);
				resolve(attempt);
				/* Another tab sees what was stored a moment later: it gets the lock when it does. */
				await attempt.then(() => sleep(STORAGE_SETTLES_MS), () => {});
			}).catch(reject);
		});
		return taken ?? this.#attempt(entry, signal);
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
		this.#queue.save();
	}

	async #attempt(entry, signal) {
		const { item } = entry;
		const show = (state) => item.seq === null && !this.#transcript.draftOf(item) && this.#transcript.set(item, { state });
		const taken = this.#takenElsewhere(entry) ?? await postUntilTaken({
			signal,
			post: () => this.#session.post(entry, signal),
			pause: (n, retryAfter) => this.#pause(n, retryAfter, signal),
			onTry: () => show("sending"),
			onRefused: ({ code }) => {
				this.#connected(code !== "network");
				if (code === "request_running") /* the server has it, and is at work or was lost */
					this.#transcript.answering(item);
				show("waiting");
				return this.#takenElsewhere(entry);
			},
		});
		this.#begun(entry, taken);
		return taken;
	}

	/* The server has the message: it leaves the queue and takes its place among the stored ones. */
	#begun(entry, { turn, response }) {
		const { item } = entry;
		this.#connected(true);
		this.#queue.remove(entry);
		if (!response)
			return;
		if (turn.token)
			this.#adopt(turn, response, item);
		const { seq, created_at: createdAt } = turn.user_message;
		this.#transcript.set(item, { seq, createdAt, turnId: turn.turn_id, state: "sent", error: null });
		this.#accepted(entry);
		entry.feed.push({ type: "turn", sessionId: turn.session_id, turnId: turn.turn_id, seq });
	}

	/* Remembers the request until it is answered. */
	#accepted({ id, text, target, item: { seq, turnId }, isAgain }) {
		this.#saw(seq, { id: turnId, seq, key: id, text, target });
		if (!isAgain)
			this.#emit("message", { role: "user", text, seq, turnId });
	}

	/* ---- the answer ---- */

	/* Takes the answer of a turn to its end; events are null when it is not this page that asked. */
	async #follow(turnId, { item, feed }, events) {
		const { signal } = this.#life;
		const draft = this.#transcript.answering(item);
		this.#transcript.set(item, { turnId });
		this.#transcript.set(draft, { turnId });
		const work = this.#answer({ turnId, draft, feed, events, signal });
		const turn = { done: work.catch(() => {}) };
		this.#turn = turn;
		try {
			await work;
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
			retry: this.#retry(signal),
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
			const text = contentText(message.content, "");
			this.#grow(draft, text, feed);
			this.#transcript.set(draft, { text, seq: message.seq, createdAt: message.created_at ?? null, state: "done" });
		}
		this.#saw(draft.seq, this.#session.turnOf(draft.question.seq) ? null : undefined);
		const detail = { role: "assistant", text: draft.text, seq: draft.seq, turnId: draft.turnId };
		feed?.push({ type: "done", ...detail });
		this.#emit("message", detail);
	}

	/*
	 * An answer was running when the page was left, or runs for another tab: go on with it. The record's turn is newer than the one
	 * that the message was stored with; isFirst: what this page had sent again, but not yet begun, when it was left is sent.
	 */
	#resume(isFirst = false) {
		const last = this.#transcript.last();
		if (!last || last.role !== "user" || this.#turn || this.#queue.of(last))
			return;
		const turn = this.#session.turnOf(last.seq);
		const turnId = turn ? turn.id : last.turnId;
		if (turnId && !(last.state === "failed" && turnId === last.turnId)) {
			const entry = { item: last, feed: new Feed(), losses: 0 };
			const { signal } = this.#life;
			this.#follow(turnId, entry, null).catch((error) => signal.aborted || this.#broken(entry, error));
		} else if (turn && !turnId && isFirst) {
			this.#again(last);
			this.#pump();
		}
	}

	/* What waited in the outbox, but is stored after all, is not posted: its turn is followed. */
	#settle() {
		for (const entry of this.#queue.stored()) {
			this.#queue.remove(entry);
			this.#accepted(entry);
		}
	}

	/* ---- messages ---- */

	async #load() {
		const { signal } = this.#life;
		const read = () => this.#page({ order: "desc", limit: PAGE, min_seq: this.#session.record.seq || undefined });
		this.#take(await untilAnswered(read, this.#retry(signal), signal));
		this.#isLoaded = true;
		this.#connected(true);
		if (!this.#isPumping)
			this.#settle();
		this.#resume(true);
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
		return this.#session.messages(query, this.#life.signal);
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

	/* The item being sent goes along when the session is another than the one shown. */
	#adopt(session, response, item = null) {
		if (this.#session.id === session.session_id)
			return this.#session.adopt(session, response);
		if (item)
			this.#transcript.set(item, { seq: null, turnId: null });
		this.#transcript.clear(true);
		this.#session.adopt(session, response);
		this.#isLoaded = true;
		this.#emit("session", this.getSession());
	}

	/* The server does not know the session any more: forget it, and give back what was not accepted. */
	#lose(cause) {
		const text = this.#queue.texts.join("\n");
		const error = new ParleyError({ code: "session_lost", status: cause.status, detail: cause.detail, requestId: cause.requestId, cause });
		this.#session.leave();
		this.#forget();
		this.#giveBack(text, error);
		this.#emit("error", error);
	}

	#giveBack(text, error) {
		if (text !== "")
			this.#emit("return", { text, error });
	}

	#forget() {
		this.#drop();
		this.#queue.save();
		this.#emit("session", null);
	}

	/* Ends what runs for the session shown, and shows none. */
	#drop() {
		this.#life.abort();
		this.#life = new AbortController();
		this.#queue.drop(new ParleyError({ code: "cancelled" }));
		this.#session.record = null;
		this.#turn = this.#older = this.#refreshing = null;
		this.#isLoaded = false;
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
			else if (stored && this.#isLoaded)
				this.#resume();
			return;
		}
		const text = this.#queue.texts.join("\n");
		this.#forget();
		this.#giveBack(text, null);
		this.#session.open();
		this.#emit("session", this.getSession());
		this.refresh();
	}

	#listen() {
		const onLook = () => !this.#isPumping && this.refresh();
		const onOnline = () => {
			this.#unblock();
			onLook();
		};
		const onStorage = (key) => (key === this.#store.id || key === null) && this.#reconcile();
		watchPage({ onLook, onOnline, onStorage }, (this.#listeners ??= new AbortController()).signal);
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

	/* What a read does before it tries again. */
	#retry(signal) {
		return (failures, error) => {
			this.#connected(false);
			return this.#pause(failures, error.retryAfter, signal);
		};
	}

	#pause(n, retryAfter, signal) {
		return sleep(pauseLength(n, retryAfter, { base: this.#retryBase }), signal);
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
