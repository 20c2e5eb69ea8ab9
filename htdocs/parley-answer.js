/* SPDX-License-Identifier: MIT */
/*
 * parley-answer: the answer to one message while it comes, as the page shows it. It is a bubble that grows; each step of the turn that said
 * something leaves a bubble of its own. What is shown never shrinks on the way: an answer that is told again from its start (another
 * attempt, a stream taken up anew) replaces what there is as soon as it says something else.
 */

import { contentText } from "./parley-transcript.js";
import { publicEvent } from "./parley-turn.js";

export class Answer {
	#transcript;
	#feed;
	#turnId;
	#text = ""; /* deltas since the last reset or step */
	#steps = new Set(); /* indexes of those that left a bubble */

	/* An answer to `question`; the events go to `feed` too. */
	constructor({ transcript, question, turnId, feed }) {
		this.#transcript = transcript;
		this.#feed = feed;
		this.#turnId = turnId;
		this.question = question;
		transcript.set(question, { turnId });
		this.draft = transcript.answering(question);
		transcript.set(this.draft, { turnId, isLooking: false });
	}

	/* Takes one event but `done`. */
	take(event) {
		const { type, data } = event;
		if (type === "delta")
			this.#grow(this.#text + data.text);
		else if (type === "turn" || type === "reset")
			this.#text = "";
		else if (type === "step")
			this.#step(publicEvent(event));
		else if (type === "tool")
			this.#feed.push(publicEvent(event));
	}

	#grow(text) {
		this.#text = text;
		this.#feed.grow(text);
		if (this.draft.seq === null && (this.draft.isLooking || !this.draft.text.startsWith(text)))
			this.#transcript.set(this.draft, { text, isLooking: false });
	}

	/* A refresh may have brought the step's message already: then it is in the draft's place, and the answer is behind it. */
	#step(step) {
		this.#text = "";
		this.#feed.step(step);
		if (this.draft.seq !== null)
			return;
		if (step.text !== "" && !this.#steps.has(step.index)) {
			this.#transcript.set(this.draft, { text: step.text, state: "done" });
			this.#steps.add(step.index);
			this.draft = this.#transcript.addAnswer(this.question);
		}
		this.#transcript.set(this.draft, { text: "", turnId: this.#turnId, isLooking: true });
	}

	/* The turn has ended with this answer. Returns what listeners are told. A refresh may have brought the message already. */
	end({ message, result, finish = "stop" }) {
		const text = message ? contentText(message.content, "") : result ?? "";
		this.#feed.grow(text, true);
		if (this.draft.seq === null && message && text !== "")
			this.#transcript.complete(this.draft, message);
		else if (this.draft.seq === null)
			this.#transcript.leave(this.draft, message ? "sent" : "stopped");
		const detail = { role: "assistant", text, seq: message?.seq ?? null, turnId: this.#turnId };
		this.#feed.push({ type: "done", ...detail, finish });
		return detail;
	}
}
