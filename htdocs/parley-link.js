/* SPDX-License-Identifier: MIT */
/* parley-link: the line to the server: whether it holds, the pauses before trying again, and what is read across its breaks. */

import { pauseLength, sleep, whenOnline } from "./parley-wire.js";
import { turnEvents } from "./parley-turn.js";

const STORAGE_SETTLES_MS = 300;

export class Link {
	isConnected = true;
	#session;
	#retryBase;
	#onChange;

	/* onChange is called when isConnected changes. */
	constructor({ session, retryBase, onChange }) {
		this.#session = session;
		this.#retryBase = retryBase;
		this.#onChange = onChange;
	}

	connected(isConnected) {
		if (this.isConnected === isConnected)
			return;
		this.isConnected = isConnected;
		this.#onChange();
	}

	/* Waits before try n + 2. */
	pause(n, retryAfter, signal) {
		return sleep(pauseLength(n, retryAfter, { base: this.#retryBase }), signal);
	}

	/* What work() returns, tried until the server answers. */
	async ask(work, signal) {
		for (let failures = 0; ; failures++) {
			try {
				return await work();
			} catch (error) {
				if (!error.isRetriable || signal.aborted)
					throw error;
				this.connected(false);
				await this.pause(failures, error.retryAfter, signal);
			}
		}
	}

	/* All events of a turn; `events` are those that come already, or null. See turnEvents(). */
	events({ turnId, events, lastEventId, signal }) {
		return turnEvents({
			turnId, events, lastEventId, signal,
			open: async (last) => {
				await whenOnline(signal, () => this.connected(false));
				const response = await this.#session.stream(turnId, last, signal);
				this.connected(true);
				return response;
			},
			ask: () => this.#session.get(`/turns/${encodeURIComponent(turnId)}`, signal),
			pause: (failures, error) => {
				if (failures > 0) /* a stream that is taken up at once is nobody's trouble */
					this.connected(false);
				return this.pause(failures, error.retryAfter, signal);
			},
		});
	}
}

/*
 * What work() returns, run while no other tab runs one of that name. A tab sees a moment later only what another stored: after work that came to
 * something it waits that long. Where there are no locks, tabs do not wait for each other.
 */
export async function underLock(name, work, signal) {
	const { locks } = globalThis.navigator ?? {};
	if (!locks)
		return work();
	return new Promise((resolve, reject) => {
		locks.request(name, { signal }, async () => {
			const result = Promise.resolve(work());
			resolve(result);
			await result.then((value) => value !== null && sleep(STORAGE_SETTLES_MS), () => {});
		}).catch(reject);
	});
}
