/* SPDX-License-Identifier: MIT */
/* parley-turn: one turn from the outside: the events of its answer, and how they are followed to their end whatever breaks. */

import { ParleyError, readEvents, readJson } from "./parley-wire.js";

const MAX_DOUBTS = 5; /* about errors that are perhaps not the turn's */

/* What happens to one message, kept so that every iterator sees it from the start. */
export class Feed {
	#events = [];
	#end = null;
	#wake = [];
	#text = ""; /* what its readers have of the text that grows */

	push(event) {
		this.#events.push(event);
		this.#wake.splice(0).forEach((resolve) => resolve());
	}

	/* The text is this, as far as it has come: what is new of it is told. One that is told again from its start says nothing until it differs. */
	grow(text, isWhole = false) {
		if (this.#text.startsWith(text) && !(isWhole && this.#text !== text))
			return;
		if (!text.startsWith(this.#text)) {
			this.push({ type: "reset" });
			this.#text = "";
		}
		if (text !== "")
			this.push({ type: "delta", text: text.slice(this.#text.length) });
		this.#text = text;
	}

	/* A step has ended with what was said in it; the next text starts anew. */
	step(event) {
		this.grow(event.text, true);
		this.push(event);
		this.#text = "";
	}

	/* Ends all iterators; with an error, they throw it. Only the first call counts. */
	end(error = null) {
		this.#end ??= { error };
		this.#wake.splice(0).forEach((resolve) => resolve());
	}

	async *[Symbol.asyncIterator]() {
		for (let i = 0; ; ) {
			while (i < this.#events.length)
				yield this.#events[i++];
			if (this.#end?.error)
				throw this.#end.error;
			if (this.#end)
				return;
			await new Promise((resolve) => this.#wake.push(resolve));
		}
	}
}

function parseData(data) {
	try {
		return JSON.parse(data);
	} catch (cause) {
		throw new ParleyError({ code: "protocol", detail: "The stream made no sense.", cause });
	}
}

/* The answer to a posted message as { type, data, id }; a replayed request may be answered whole, as JSON. */
export async function* answerEvents(response) {
	if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
		yield { type: "done", data: await readJson(response), id: "" };
		return;
	}
	for await (const { event, data, id } of readEvents(response.body))
		yield { type: event, data: parseData(data), id };
}

/*
 * The events of a turn up to its `done`: those given (null: none), and where they break off, what open(lastEventId) brings. Nothing comes twice,
 * but a `turn` that comes again says that all starts anew. pause(failures, error) waits before each further try, of which there may be any number;
 * ask() fetches the turn's state. Throws ParleyError with turnId when the turn failed or is unknown.
 */
export async function* turnEvents({ turnId, events, lastEventId = "", open, ask, pause, signal }) {
	let [last, doubts] = [lastEventId, 0];
	for (let failures = 0; ; failures++) {
		let problem = new ParleyError({ code: "network", detail: "The connection ended." });
		let failed = null;
		try {
			for await (const event of events ?? answerEvents(await open(last))) {
				if (signal.aborted)
					throw new ParleyError({ code: "cancelled" });
				if (event.type === "error") {
					problem = ParleyError.from({ turn_id: turnId, ...event.data });
					failed = doubts++ === MAX_DOUBTS || (await hasFailed(problem, ask)) ? problem : null;
					break;
				}
				failures = 0;
				last = event.id || last;
				yield event;
				if (event.type === "done")
					return;
			}
		} catch (error) {
			if (signal.aborted || !isBroken(error))
				throw ofTurn(error, turnId);
			problem = error;
		}
		if (failed)
			throw failed;
		events = null;
		await pause(failures, problem);
	}
}

/* Whether an `error` is the turn's end, and not the trouble of who told of it. */
function hasFailed({ code }, ask) {
	return /^(provider_|worker_lost$|spend_cap)/.test(code) || ask().then(({ status }) => status === "failed", () => false);
}

/* Whether it is the connection that failed, or a server that may answer in a moment. */
function isBroken(error) {
	return error instanceof ParleyError && (error.isPassing || (error.code === "protocol" && error.status === 0));
}

/* A 404 is of the turn alone; whether the session is lost too, the next read says. */
function ofTurn(error, turnId) {
	return error.status === 404 ? ParleyError.from({ code: error.code, status: 404, detail: error.detail, turn_id: turnId }) : error;
}

/* An event as callers of the client see it. */
export function publicEvent({ type, data, id = "" }) {
	const fields = {
		turn: () => ({ sessionId: data.session_id, turnId: data.turn_id, seq: data.user_message?.seq ?? null }),
		queued: () => ({ position: data.position }),
		delta: () => ({ text: data.text }),
		reset: () => ({ reason: data.reason }),
		step: () => ({ index: data.index, text: data.text ?? "", toolCalls: data.tool_calls ?? [] }),
		tool: () => ({ index: data.index, toolCallId: data.tool_call_id, name: data.name, result: data.result, isError: data.is_error ?? false,
			durationMs: data.duration_ms ?? null }),
		done: () => ({ role: "assistant", text: data.result ?? "", seq: data.message?.seq ?? null, turnId: data.turn_id, finish: data.finish ?? "stop" }),
	};
	return Object.hasOwn(fields, type) ? { type, ...fields[type](), ...(id ? { lastEventId: id } : {}) } : null;
}

/* The same of all of them; unknown ones are left out. */
export async function* publicEvents(events) {
	for await (const event of events) {
		const known = publicEvent(event);
		if (known)
			yield known;
	}
}
