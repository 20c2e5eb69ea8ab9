/* SPDX-License-Identifier: MIT */
/*
 * parley-transcript: the messages of one conversation as a page shows them: stored ones in the order of their seq, an answer
 * that is still coming right behind its question, and what waits to be sent at the end. An item keeps its identity and its `key` while
 * it goes from one state to the next, so that a display never shows it twice.
 */

/* The text of a message's content: a string, or the text parts of a list. */
export function contentText(content) {
	if (typeof content === "string")
		return content;
	if (!Array.isArray(content))
		return "";
	return content.filter((part) => typeof part?.text === "string").map((part) => part.text).join("\n");
}

function rank(item) {
	return item.seq ?? (item.after === null ? Infinity : item.after + 0.5);
}

export class Transcript {
	#onChange;

	/* onChange is called after every change. */
	constructor(onChange) {
		this.items = [];
		this.seq = 0; /* last seq seen, of any role */
		this.#onChange = onChange;
	}

	/* Adds an item: { key, role, text, state } and what else is known of it. */
	add(fields) {
		const item = { seq: null, after: null, turnId: null, createdAt: null, error: null, ...fields };
		this.items.push(item);
		this.#changed();
		return item;
	}

	/* Changes an item. One that gets the seq of another takes its place: both are the same message. */
	set(item, fields) {
		Object.assign(item, fields);
		if (fields.seq)
			this.items = this.items.filter((other) => other === item || other.seq !== fields.seq);
		this.#changed();
	}

	remove(item) {
		this.items = this.items.filter((other) => other !== item);
		this.#changed();
	}

	/* Forgets all; with keepUnsent, all but what the server has not yet. */
	clear(keepUnsent = false) {
		this.items = keepUnsent ? this.items.filter((item) => item.seq === null && item.after === null) : [];
		this.seq = 0;
		this.#changed();
	}

	/* The newest stored item, or undefined. */
	last() {
		return this.items.findLast((item) => item.seq !== null);
	}

	/* The answer of a turn, begun when there is none yet. */
	draft(turnId, user) {
		return this.items.find((item) => item.role === "assistant" && item.turnId === turnId) ??
			this.add({ key: turnId, role: "assistant", text: "", state: "streaming", turnId, after: user.seq });
	}

	/* Takes a message as the server stores it; it may be one that is shown already, as on its way. */
	accept({ id, seq, role, content, turn_id: turnId = null, created_at: createdAt }) {
		this.seq = Math.max(this.seq, seq);
		if ((role !== "user" && role !== "assistant") || this.items.some((item) => item.seq === seq))
			return;
		const text = contentText(content);
		const state = role === "user" ? "sent" : "done";
		const draft = role === "assistant" && this.#draftFor(seq, turnId);
		if (draft)
			this.set(draft, { seq, text, createdAt, state });
		else if (text !== "")
			this.add({ key: id ?? `seq-${seq}`, role, text, state, seq, createdAt, turnId });
	}

	#draftFor(seq, turnId) {
		return this.items.find((item) => item.role === "assistant" && item.seq === null && item.after < seq &&
			(turnId ? item.turnId === turnId : item.state === "streaming"));
	}

	#changed() {
		this.items.sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
		this.#onChange();
	}
}
