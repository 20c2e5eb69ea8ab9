/* SPDX-License-Identifier: MIT */
/* parley-queue: messages on their way to the server, one after the other, and how one of them gets there. */

import { ParleyError, whenOnline } from "./parley-wire.js";
import { Feed, answerEvents } from "./parley-turn.js";

const MAX_FAILURES = 6;
const MAX_WAITS = 240; /* while a turn runs: it ends by itself, at the latest with its lease, so it is worth more patience */

/*
 * Entries { id, text, target, options, item, feed, losses, isAgain } in order: id is the Idempotency-Key of all attempts, target the session it goes to
 * (null: a new one; undefined: not decided), isAgain says that the server has the message and its turn failed. Those it has not
 * are kept in the store's outbox.
 */
export class Queue {
	entries = [];
	isBlocked = false; /* the head failed and waits for the visitor */
	#store;

	constructor(store) {
		this.#store = store;
	}

	get head() {
		return this.isBlocked ? null : this.entries[0] ?? null;
	}

	get texts() {
		return this.entries.map((entry) => entry.text);
	}

	of(item) {
		return this.entries.find((entry) => entry.item === item) ?? null;
	}

	has(entry) {
		return this.entries.includes(entry);
	}

	/* Those that turned out to be stored, though nobody said so to their sender. */
	stored() {
		return this.entries.filter(({ item, isAgain }) => !isAgain && item.seq !== null && item.turnId);
	}

	add(fields) {
		const entry = { losses: 0, isAgain: false, feed: new Feed(), ...fields };
		if (entry.isAgain)
			this.entries.unshift(entry);
		else
			this.entries.push(entry);
		return entry;
	}

	/* Returns the entry. */
	remove(entry) {
		this.entries = this.entries.filter((other) => other !== entry);
		this.save();
		return entry;
	}

	/* Gives up all; what is stored stays until save(). */
	drop(error) {
		this.entries.splice(0).forEach((entry) => entry.feed.end(error));
		this.isBlocked = false;
	}

	save() {
		this.#store.writeOutbox(this.entries.filter((entry) => !entry.isAgain).map(({ id, text, target, options }) => ({ id, text, target, options })));
	}
}

/*
 * Posts until the server takes the message, or refuses it for good: then it throws. post() makes one request. onTry() is called before each,
 * onQueued(position) when the message waits there for its turn, onRefused(error) before each pause, and while there is no network: what it
 * returns, unless null, is the result.
 * pause(n, retryAfter) waits for the nth time. Returns { turn, events, response }.
 */
export async function postUntilTaken({ post, onTry, onQueued, onRefused, pause, signal }) {
	for (let failures = 0, waits = 0; ; ) {
		await whenOnline(signal, () => onRefused(new ParleyError({ code: "network" })));
		onTry();
		try {
			return await postOnce(post, onQueued, signal);
		} catch (error) {
			const isWaiting = error.code === "turn_running" || error.code === "request_running";
			const n = isWaiting ? waits++ : failures++;
			if (signal.aborted || !error.isRetriable || n + 1 >= (isWaiting ? MAX_WAITS : MAX_FAILURES))
				throw error;
			const other = await onRefused(error);
			if (other)
				return other;
			await pause(isWaiting ? Math.min(n, 2) : n, error.retryAfter);
		}
	}
}

/* One request, as far as to the event that says the message is stored. */
async function postOnce(post, onQueued, signal) {
	const response = await post();
	const events = answerEvents(response);
	for (;;) {
		const { done, value } = await events.next();
		if (done)
			throw new ParleyError({ code: "network", detail: "The connection ended." });
		if (signal.aborted)
			throw new ParleyError({ code: "cancelled" });
		if (value.type === "error")
			throw ParleyError.from(value.data);
		if (value.type === "queued")
			onQueued(value.data.position);
		if (value.type === "turn")
			return { turn: value.data, events, response };
		if (value.type === "done")
			return { turn: value.data, events: [value], response };
	}
}
