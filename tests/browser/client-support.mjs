/* SPDX-License-Identifier: MIT */
/* client-support: the headless client in tests without a browser: storage, and what is asked of its events. */
import { webcrypto } from "node:crypto";
import { ParleyClient } from "../../htdocs/parley-client.js";

/* What every browser has, and node only from version 20 on. */
globalThis.crypto ??= webcrypto;
globalThis.CustomEvent ??= class extends Event {
	constructor(type, { detail = null, ...init } = {}) {
		super(type, init);
		this.detail = detail;
	}
};

/* localStorage, as much of it as is used. */
export class MemoryStorage {
	map = new Map();
	getItem(key) {
		return this.map.get(key) ?? null;
	}
	setItem(key, value) {
		this.map.set(key, String(value));
	}
	removeItem(key) {
		this.map.delete(key);
	}
}

/* A client of the mock server's first site, which remembers nothing unless it is given storage. */
export function openClient(mock, options = {}) {
	const fetch = (url, init) => globalThis.fetch(url, { ...init, headers: { ...init.headers, Origin: mock.url } });
	return new ParleyClient({ key: "pk_north", agent: "guide", base: mock.url, fetch, retryBase: 5,
		localStorage: new MemoryStorage(), sessionStorage: new MemoryStorage(), ...options });
}

export async function collect(feed) {
	const events = [];
	for await (const event of feed)
		events.push(event);
	return events;
}

export const texts = (c) => c.messages.map((m) => `${m.role}: ${m.text}`);

/* The answer's text by the rule for readers of events. */
export const textOf = (events) => events.reduce((text, e) => (e.type === "delta" ? text + e.text : e.type === "reset" || e.type === "step" ? "" : text), "");

/* Resolves when isTrue() holds for the client. */
export async function until(c, isTrue) {
	while (!isTrue())
		await new Promise((resolve) => c.addEventListener("change", resolve, { once: true }));
}
