/* SPDX-License-Identifier: MIT */
/* parley-turn: one turn from the outside: the events of its answer, and how it is followed to its end whatever breaks. */

import { ParleyError, readEvents, readJson, sleep, untilAnswered } from "./parley-wire.js";

const POLL_MIN_MS = 400;
const POLL_MAX_MS = 3000;

/* What happens to one message, kept so that every iterator sees it from the start. */
export class Feed {
	#events = [];
	#end = null;
	#wake = [];

	push(event) {
		this.#events.push(event);
		this.#wake.splice(0).forEach((resolve) => resolve());
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

/* The answer to a posted message as { type, data }; a replayed request may be answered whole, as JSON. */
export async function* answerEvents(response) {
	if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
		yield { type: "done", data: await readJson(response) };
		return;
	}
	for await (const { event, data } of readEvents(response.body))
		yield { type: event, data: parseData(data) };
}

/*
 * Follows a turn to its end: by its events and, where these break or are null, by asking for its state. onText gets the whole text so far.
 * ask() fetches the state; retry(failures, error) waits before the next try. Returns { message, isPolled }, the stored
 * answer { content, seq, created_at }; throws ParleyError with turnId when the turn failed.
 */
export async function followTurn({ turnId, events, ask, retry, onText, signal }) {
	const message = events && (await fromEvents({ turnId, events, onText, signal }));
	return message ? { message, isPolled: false } : { message: await poll({ turnId, ask, retry, onText, signal }), isPolled: true };
}

/* The answer, or null when the stream broke before its end. */
async function fromEvents({ turnId, events, onText, signal }) {
	let text = "";
	try {
		for await (const { type, data } of events) {
			if (signal.aborted)
				throw new ParleyError({ code: "cancelled" });
			if (type === "delta")
				onText((text += data.text));
			else if (type === "done")
				return data.message;
			else if (type === "error")
				throw ParleyError.from({ turn_id: turnId, ...data });
		}
	} catch (error) {
		if (signal.aborted || (error.code !== "network" && error.code !== "protocol"))
			throw error;
	}
	return null;
}

async function poll({ turnId, ask, retry, onText, signal }) {
	let text = "";
	const askOn = async () => {
		try {
			return await ask();
		} catch (error) {
			/* A 404 is of the turn alone; whether the session is lost too, the next read says. */
			throw error.status === 404 ? ParleyError.from({ code: error.code, status: 404, detail: error.detail, turn_id: turnId }) : error;
		}
	};
	for (let quiet = 0; ; ) {
		const turn = await untilAnswered(askOn, retry, signal);
		const soFar = turn.result ?? "";
		if (turn.status === "done")
			return { content: soFar, seq: turn.answer_seq, created_at: turn.ended_at };
		quiet = soFar === text ? quiet + 1 : 0;
		onText((text = soFar));
		if (turn.status !== "running")
			throw ParleyError.from({ ...turn.error, turn_id: turnId, session_id: turn.session_id });
		await sleep(Math.min(POLL_MAX_MS, POLL_MIN_MS * 1.5 ** quiet), signal);
	}
}
