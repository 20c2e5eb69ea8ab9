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
 * stream is taken up where it broke off; a turn whose worker was lost is asked for again without a word; whatever the
 * visitor typed and the server did not accept is given back, never lost.
 */

import { ParleyError, newId, watchPage } from "./parley-wire.js";
import { ParleyStore } from "./parley-store.js";
import { SessionAccess } from "./parley-session.js";
import { Transcript } from "./parley-transcript.js";
import { Feed, publicEvents } from "./parley-turn.js";
import { Link, underLock } from "./parley-link.js";
import { Answer } from "./parley-answer.js";
import { Queue, postUntilTaken } from "./parley-queue.js";

export { ParleyError, EventStreamParser, backoff, parseRetryAfter, readEvents } from "./parley-wire.js";
export { contentText } from "./parley-transcript.js";

const PAGE = 50;
const CATCH_UP_PAGE = 100;
const MAX_LOSSES = 3; /* of workers, for one message */

export class ParleyClient extends EventTarget {
	#store;
	#session;
	#transcript = new Transcript(() => this.#changed());
	#queue; /* messages not yet accepted by the server, and those whose failed turns are tried again */
	#isPumping = false;
	#turn = null; /* { id, entry, done } of the turn being followed */
	#older = null; /* cursor of the next page upwards */
	#isLoaded = false;
	#refreshing = null;
	#link;
	#life = new AbortController(); /* ends everything that belongs to the session shown */
	#listeners = null; /* ends the listeners of start() */
	#options; /* of send() */

	constructor({ key, agent, base = "", name = "", fetch, localStorage, sessionStorage, retryBase = 500, ...options }) {
		super();
		if (!key || !agent)
			throw new TypeError("ParleyClient needs a key and an agent");
		const prefix = base.replace(/\/+$/, "");
		this.#options = options;
		this.#store = new ParleyStore({
			origin: globalThis.location ? new URL(prefix || "/", globalThis.location.href).href : prefix,
			key, agent, name, local: localStorage, session: sessionStorage,
		});
		this.#queue = new Queue(this.#store);
		this.#session = new SessionAccess({
			key, agent, base: prefix, store: this.#store,
			fetch: fetch ?? ((url, init) => globalThis.fetch(url, init)),
		});
		this.#link = new Link({ session: this.#session, retryBase, onChange: () => this.#changed() });
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
		return this.#link.isConnected;
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
		for (const { id, text, target, options } of this.#store.readOutbox())
			if (!target || target === this.#session.id)
				this.#enqueue({ id, text, target, options });
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
				const page = await this.#session.messages({ order: "desc", limit: PAGE, before }, this.#life.signal);
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
	 * Queues a message. It is sent whether or not the result is read: an async iterable of { type: "queued" | "turn" | "delta" | "reset" |
	 * "step" | "tool" | "done", … } that throws ParleyError when it fails. The answer's text is that of the deltas since the last reset or
	 * step. The options are those of the constructor, for this message.
	 */
	send(text, options = {}) {
		if (typeof text !== "string" || text.trim() === "")
			throw new TypeError("an empty message");
		const { onBusy, onDisconnect, maxIterations } = { ...this.#options, ...options };
		const entry = this.#enqueue({ id: newId(), text: text.toWellFormed?.() ?? text, target: undefined,
			options: { on_busy: onBusy, on_disconnect: onDisconnect, max_iterations: maxIterations } });
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

	#enqueue(fields) {
		const state = this.#isPumping || this.#turn ? "waiting" : "sending";
		const item = this.#transcript.add({ key: fields.id, role: "user", text: fields.text, state });
		return this.#queue.add({ ...fields, item });
	}

	/* Queues the request of a stored message once more, in front; null when it is not known any more. */
	#again(item, fields = {}) {
		const turn = this.#session.turnOf(item.seq);
		if (!turn)
			return null;
		if (turn.id === item.turnId)
			this.#saw(item.seq, { ...turn, id: null });
		this.#transcript.answering(item);
		const { key: id, text, target, options } = turn;
		return this.#queue.add({ id, text, target, options, item, isAgain: true, ...fields });
	}

	/* The turn that another page has begun for this entry meanwhile, as postUntilTaken() would return it, or null. */
	#takenElsewhere({ item, isAgain }) {
		const id = isAgain && this.#session.turnOf(item.seq)?.id;
		return id && id !== item.turnId ? { turn: { turn_id: id }, events: null } : null;
	}

	/* The same for one whose answer broke off before its first event: the server says that its turn runs. */
	async #takenBefore({ item }, { code, turnId }) {
		if (code !== "request_running" || !turnId || !this.#isLoaded)
			return null;
		await this.#guard(() => this.#catchUp());
		return item.seq === null ? null : { turn: { turn_id: turnId }, events: null };
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
		if (error.code === "cancelled" && error.status === 0) /* by this client's life, not by the server */
			return entry.feed.end(error);
		const isLost = error.code === "worker_lost" && !entry.isStopped && entry.losses < MAX_LOSSES && !this.#queue.has(entry);
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
		const open = () => {
			this.#decide(entry);
			return entry.target === null ? this.#attempt(entry, signal) : null;
		};
		const taken = this.#session.record || entry.target ? open() : await underLock(this.#store.id, open, signal);
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
			pause: (n, retryAfter) => this.#link.pause(n, retryAfter, signal),
			onTry: () => show("sending"),
			onQueued: (position) => {
				show("waiting");
				entry.feed.push({ type: "queued", position });
				this.refresh(); /* what is being answered before it */
			},
			onRefused: (error) => {
				this.#link.connected(error.code !== "network");
				if (error.code === "request_running") /* the server has it, and is at work or was lost */
					this.#transcript.answering(item);
				show("waiting");
				return this.#takenElsewhere(entry) ?? this.#takenBefore(entry, error);
			},
		});
		this.#begun(entry, taken);
		return taken;
	}

	/* The server has the message: it leaves the queue and takes its place among the stored ones. */
	#begun(entry, { turn, response }) {
		const { item } = entry;
		this.#link.connected(true);
		this.#queue.remove(entry);
		if (!response) {
			this.#transcript.set(item, { turnId: turn.turn_id });
			return this.#accepted(entry);
		}
		if (turn.token)
			this.#adopt(turn, response, item);
		const { seq, created_at: createdAt } = turn.user_message;
		this.#closeGap(seq);
		this.#transcript.set(item, { seq, createdAt, turnId: turn.turn_id, state: "sent", error: null });
		this.#accepted(entry);
		entry.feed.push({ type: "turn", sessionId: turn.session_id, turnId: turn.turn_id, seq });
	}

	/* Remembers the request until it is answered. */
	#accepted({ id, text, target, options, item: { seq, turnId }, isAgain }) {
		this.#saw(seq, { id: turnId, seq, key: id, text, target, options });
		if (!isAgain)
			this.#emit("message", { role: "user", text, seq, turnId });
	}

	/* ---- the answer ---- */

	/*
	 * The events of a turn as send() gives them, from its start or behind the one with that id (`lastEventId` of an event), to its end, across
	 * broken connections. Throws ParleyError when the turn failed or is unknown.
	 */
	follow(turnId, { lastEventId } = {}) {
		return publicEvents(this.#link.events({ turnId, events: null, lastEventId, signal: this.#life.signal }));
	}

	/* Stops a turn, by default the one whose answer is on its way here. What came of it stays. Returns the turn as it ended, or null. */
	async cancel(turnId = this.#turn?.id) {
		const { signal } = this.#life;
		if (!turnId)
			return null;
		if (turnId === this.#turn?.id)
			this.#turn.entry.isStopped = true;
		return this.#link.ask(() => this.#session.cancelTurn(turnId, signal), signal);
	}

	/* The turns of the session that run now, as the API gives them, newest first. */
	async runningTurns() {
		return this.#session.record ? this.#session.runningTurns(this.#life.signal) : [];
	}

	/* Takes the answer of a turn to its end; events are null when it is not this page that asked. */
	async #follow(turnId, entry, events) {
		const answer = new Answer({ transcript: this.#transcript, question: entry.item, turnId, feed: entry.feed });
		const work = this.#answer(answer, this.#link.events({ turnId, events, signal: this.#life.signal }));
		const turn = { id: turnId, entry, done: work.catch(() => {}) };
		this.#turn = turn;
		this.#changed();
		try {
			await work;
		} finally {
			if (this.#turn === turn)
				this.#turn = null;
			this.#changed();
		}
	}

	async #answer(answer, events) {
		const { signal } = this.#life;
		for await (const event of events) {
			if (event.type !== "done") {
				answer.take(event);
				continue;
			}
			await this.#closeGap(event.data.message?.seq);
			if (signal.aborted)
				return;
			const detail = answer.end(event.data);
			this.#saw(detail.seq, this.#session.turnOf(answer.question.seq) ? null : undefined);
			if (detail.seq !== null)
				this.#emit("message", detail);
		}
	}

	/*
	 * An answer was running when the page was left, or runs for another tab: go on with it. The record's turn is newer than the one
	 * that the message was stored with; isFirst: what this page had sent again, but not yet begun, when it was left is sent.
	 */
	async #resume(isFirst = false) {
		const last = this.#transcript.last();
		const { signal } = this.#life;
		const isOpen = () => !signal.aborted && last === this.#transcript.last() && last?.role === "user" && !this.#turn && !this.#queue.of(last);
		if (!isOpen())
			return;
		const running = isFirst || !this.#session.turnOf(last.seq) ? await this.#runningFor(last) : null;
		const turn = this.#session.turnOf(last.seq);
		const turnId = running?.id ?? (turn ? turn.id : last.turnId);
		if (!isOpen())
			return;
		if (turnId && !(/failed|stopped/.test(last.state) && turnId === last.turnId)) {
			const entry = { item: last, feed: new Feed(), losses: 0 };
			this.#follow(turnId, entry, null).catch((error) => signal.aborted || this.#broken(entry, error));
		} else if (turn && !turnId && isFirst) {
			this.#again(last);
			this.#pump();
		}
	}

	/* The turn that runs now to answer this message, or null. */
	async #runningFor(item) {
		const { signal } = this.#life;
		const turns = await this.#link.ask(() => this.#session.runningTurns(signal), signal);
		return turns.find((turn) => turn.user_seq === item.seq) ?? null;
	}

	/* ---- messages ---- */

	async #load() {
		const { signal } = this.#life;
		const read = () => this.#session.messages({ order: "desc", limit: PAGE, min_seq: this.#session.record.seq || undefined }, signal);
		this.#take(await this.#link.ask(read, signal));
		this.#isLoaded = true;
		this.#link.connected(true);
		if (!this.#isPumping) /* what waited in the outbox, but is stored after all, is not posted: its turn is followed */
			this.#queue.stored().forEach((entry) => this.#accepted(this.#queue.remove(entry)));
		await this.#resume(true);
	}

	async #catchUp(atLeast = 0) {
		for (let isMore = true; isMore; ) {
			const { seq } = this.#transcript;
			const min_seq = Math.max(seq, atLeast, this.#session.record.seq) || undefined;
			const page = await this.#session.messages({ order: "asc", limit: CATCH_UP_PAGE, after: seq || undefined, min_seq }, this.#life.signal);
			page.data.forEach((message) => this.#transcript.accept(message));
			this.#saw(this.#transcript.seq);
			isMore = page.has_more && page.data.length > 0;
		}
		await this.#resume();
	}

	/* What was stored between the last message known and this one: of the turn's own steps, or of other pages. */
	async #closeGap(seq = 0) {
		if (this.#isLoaded && seq > this.#transcript.seq + 1)
			await this.#guard(() => this.#catchUp(seq));
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
		this.#link.connected(true);
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
				this.#guard(() => this.#resume());
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

	#changed() {
		this.dispatchEvent(new Event("change"));
	}

	#emit(type, detail) {
		this.dispatchEvent(new CustomEvent(type, { detail }));
	}
}
