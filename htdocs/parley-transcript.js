/* SPDX-License-Identifier: MIT */
/*
 * parley-transcript: the messages of one conversation as a page shows them: stored ones in the order of their seq, an answer
 * that is still coming right behind its question, and what waits to be sent at the end. An item keeps its identity and its `key` while
 * it goes from one state to the next, so that a display never shows it twice.
 */

/* The text of a message's content: a string, or the text parts of a list. Those of an answer are pieces of one text: with "" between them. */
export function contentText(content, between = "\n") {
	if (typeof content === "string")
		return content;
	if (!Array.isArray(content))
		return "";
	return content.filter((part) => typeof part?.text === "string").map((part) => part.text).join(between);
}

const UNSENT = 2 ** 50; /* behind every seq */

/* What is incomplete was stopped, by the visitor or by somebody else. */
function answerState({ incomplete = false }) {
	return incomplete ? "stopped" : "done";
}

/* An answer without a seq stands right behind its question. */
function rank(item) {
	return item.seq ?? (item.question ? rank(item.question) + 0.5 : UNSENT + item.order);
}

export class Transcript {
	#onChange;
	#order = 0;

	/* onChange is called after every change. */
	constructor(onChange) {
		this.items = [];
		this.seq = 0; /* last seq seen, of any role */
		this.#onChange = onChange;
	}

	/* Adds an item: { key, role, text, state } and what else is known of it. `question` is the item that a coming answer is for. */
	add(fields) {
		const item = { seq: null, question: null, turnId: null, createdAt: null, error: null, isLooking: false, order: this.#order++, ...fields };
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
		this.items = keepUnsent ? this.items.filter((item) => item.seq === null && !item.question?.seq) : [];
		this.seq = 0;
		this.#changed();
	}

	/* The newest stored item, or undefined. */
	last() {
		return this.items.findLast((item) => item.seq !== null);
	}

	/* The answer to a question as far as it came and while it is not stored, or undefined. What its steps said stands before it. */
	draftOf(question) {
		return this.items.findLast((item) => item.question === question && item.seq === null);
	}

	addAnswer(question) {
		return this.add({ key: `${question.key}:answer:${this.#order}`, role: "assistant", text: "", state: "streaming", question });
	}

	/* An answer is on its way, for the first time or again: what came before stays until there is more, but for its steps. */
	answering(question) {
		const draft = this.draftOf(question) ?? this.addAnswer(question);
		this.items = this.items.filter((item) => item === draft || item.question !== question || item.seq !== null);
		this.set(question, { state: "sent", error: null });
		this.set(draft, { state: "streaming" });
		return draft;
	}

	/* What failed is about to be tried again. */
	resend(question) {
		if (question.seq === null)
			this.set(question, { state: "waiting", error: null });
		else
			this.answering(question);
	}

	/* There will be no answer by itself. What came of it stays. */
	unanswered(question, error) {
		const draft = this.draftOf(question);
		if (draft?.text === "")
			this.remove(draft);
		else if (draft)
			this.set(draft, { state: "failed", isLooking: false });
		this.set(question, { state: "failed", error });
	}

	/* There will be no answer, and nothing came of it: the draft goes. */
	leave(draft, state) {
		this.remove(draft);
		this.set(draft.question, { state, error: null });
	}

	/*
	 * Takes a message as the server stores it; it may be one that is shown already, as on its way. What is not said to the visitor is not shown:
	 * the results of tools, and an answer that only asks for them.
	 */
	accept(message) {
		const { id, seq, role, content, turn_id: turnId = null, client_id: clientId = null, created_at: createdAt } = message;
		this.seq = Math.max(this.seq, seq);
		if ((role !== "user" && role !== "assistant") || this.items.some((item) => item.seq === seq))
			return;
		const text = contentText(content, role === "assistant" ? "" : "\n");
		const own = role === "user" && this.items.find((item) => item.key === clientId && item.seq === null);
		const draft = role === "assistant" && text !== "" && this.#draftFor(seq, turnId);
		if (own)
			this.set(own, { seq, createdAt, turnId, state: "sent", error: null });
		else if (draft)
			this.complete(draft, message);
		else if (text !== "")
			this.add({ key: id ?? `seq-${seq}`, role, text, state: role === "user" ? "sent" : answerState(message), seq, createdAt, turnId });
	}

	/* By its turn; or because its question is the newest that is stored before: another page has asked once more. */
	#draftFor(seq, turnId) {
		const drafts = this.items.filter((item) => item.question?.seq < seq && item.seq === null);
		const newest = this.items.findLast((item) => item.role === "user" && item.seq !== null && item.seq < seq);
		return drafts.find((item) => turnId && item.turnId === turnId) ?? drafts.find((item) => item.question === newest);
	}

	/* The draft is stored as this message. */
	complete(draft, message) {
		const { seq, content, turn_id: turnId = draft.turnId, created_at: createdAt = null } = message;
		this.set(draft, { seq, text: contentText(content, ""), turnId, createdAt, state: answerState(message), isLooking: false });
		this.set(draft.question, { state: "sent", error: null });
	}

	#changed() {
		this.items.sort((a, b) => rank(a) - rank(b));
		this.#onChange();
	}
}
