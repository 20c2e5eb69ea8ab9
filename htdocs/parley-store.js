/* SPDX-License-Identifier: MIT */
/*
 * parley-store: what the browser keeps between page loads, for one pair of site key and agent.
 *
 * The session record { session_id, token, expires, renew_at, seq, turn } is in localStorage: the visitor expects the same
 * conversation after a reload and in a second tab, and neither a cookie of another site nor sessionStorage can give both. A script
 * that runs in the page could read the token there, as it could read whatever else the page shows. What it would gain is
 * bounded: the token opens one session only, expires, and is replaced at half its life; the publishable key beside it is
 * public anyway. Secret keys never come here. Its `turn` is the newest message's { id, seq, key, text, target, options } until it is answered:
 * enough to follow the turn, or to send the very same request again. An id of null: it was sent again, and the new turn's is not known yet.
 *
 * The outbox (messages typed but not yet accepted by the server) is in sessionStorage: it survives a reload, and no second
 * tab sends the same messages too.
 *
 * The name of both holds the API's origin, the key, the agent and the widget's name, so that two sites, two agents or two widgets
 * in one browser never see each other's session.
 */

export class ParleyStore {
	#memory = new Map();
	#local;
	#session;

	/* local and session are the storages; null: none, undefined: the browser's. */
	constructor({ origin, key, agent, name, local = browserStorage("localStorage"), session = browserStorage("sessionStorage") }) {
		this.id = `parley:${JSON.stringify([origin, key, agent, name])}`;
		this.#local = local;
		this.#session = session;
	}

	/* The session record, or null. */
	read() {
		const record = this.#get(this.#local, this.id);
		return typeof record?.session_id === "string" && typeof record?.token === "string" ? record : null;
	}

	write(record) {
		this.#set(this.#local, this.id, record);
	}

	/* Messages that wait: [{ id, text, target, options }]; target is the session they go to, null a new one, undefined not decided. */
	readOutbox() {
		const entries = this.#get(this.#session, `${this.id}:outbox`);
		return Array.isArray(entries) ? entries.filter((e) => typeof e?.id === "string" && typeof e?.text === "string") : [];
	}

	writeOutbox(entries) {
		this.#set(this.#session, `${this.id}:outbox`, entries.length > 0 ? entries : null);
	}

	/* A browser may refuse storage (private windows, full, policy): then this page remembers by itself until it is left. */
	#get(storage, id) {
		if (this.#memory.has(id))
			return this.#memory.get(id);
		try {
			return JSON.parse(storage?.getItem(id) ?? "null");
		} catch {
			return null;
		}
	}

	#set(storage, id, value) {
		try {
			if (value === null)
				storage.removeItem(id);
			else
				storage.setItem(id, JSON.stringify(value));
			this.#memory.delete(id);
		} catch {
			this.#memory.set(id, value);
		}
	}
}

/* window.localStorage or window.sessionStorage; null where there is none, or where reading the property itself throws. */
function browserStorage(which) {
	try {
		return globalThis[which] ?? null;
	} catch {
		return null;
	}
}
