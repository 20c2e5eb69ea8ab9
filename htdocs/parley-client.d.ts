/* SPDX-License-Identifier: MIT */
/* parley-client.d.ts: the types of parley-client.js. */

export interface ParleyClientOptions {
	/** The site's publishable key, `pk_…`. */
	key: string;
	/** Name of the agent. */
	agent: string;
	/** What stands before `/v1` in the API's address; "" for this page's own origin. */
	base?: string;
	/** Keeps the sessions of several clients with the same key and agent apart. */
	name?: string;
	/** Instead of the global fetch. */
	fetch?: typeof globalThis.fetch;
	/** Where the session is remembered; null: not at all. Default: the browser's. */
	localStorage?: Storage | null;
	/** Where unsent messages are remembered; null: not at all. Default: the browser's. */
	sessionStorage?: Storage | null;
	/** First pause before trying again, in ms. Default 500. */
	retryBase?: number;
}

export interface ParleySession {
	id: string;
	expiresAt: string | null;
}

export type ParleyMessageState =
	| "waiting" /* typed, not sent yet, or about to be sent again */
	| "sending"
	| "sent" /* stored by the server */
	| "streaming" /* an answer that grows */
	| "done"
	| "failed"; /* retry() sends it again; an answer: it broke off */

export interface ParleyMessage {
	readonly key: string;
	readonly role: "user" | "assistant";
	readonly text: string;
	readonly state: ParleyMessageState;
	readonly seq: number | null;
	readonly turnId: string | null;
	readonly createdAt: string | null;
	readonly error: ParleyError | null;
}

export type ParleyTurnEvent =
	| { type: "turn"; sessionId: string; turnId: string; seq: number } /* again when a lost turn is taken up anew; the text goes on */
	| { type: "delta"; text: string }
	| { type: "text"; text: string } /* replaces everything before it */
	| { type: "done"; role: "assistant"; text: string; seq: number; turnId: string };

export interface ParleyMessageDetail {
	role: "user" | "assistant";
	text: string;
	seq: number;
	turnId: string;
}

export interface ParleyClientEventMap {
	/** Something of what is shown changed. */
	change: Event;
	/** A message was accepted, or an answer is complete. */
	message: CustomEvent<ParleyMessageDetail>;
	/** Another session, or none. */
	session: CustomEvent<ParleySession | null>;
	error: CustomEvent<ParleyError>;
	/** A message was not accepted and is given back to be edited. */
	return: CustomEvent<{ text: string; error: ParleyError | null }>;
}

export class ParleyClient extends EventTarget {
	constructor(options: ParleyClientOptions);
	readonly messages: readonly ParleyMessage[];
	readonly hasOlder: boolean;
	readonly isConnected: boolean;
	readonly isBusy: boolean;
	getSession(): ParleySession | null;
	start(): Promise<void>;
	stop(): void;
	refresh(): Promise<void>;
	loadOlder(): Promise<boolean>;
	newSession(): Promise<void>;
	clearSession(): Promise<void>;
	createSession(fields?: Record<string, unknown>): Promise<Record<string, unknown> & { id: string }>;
	send(text: string): AsyncIterable<ParleyTurnEvent>;
	/** Sends a failed message again; the server does not store it twice. One that others have followed is sent as a new one. */
	retry(message: ParleyMessage): AsyncIterable<ParleyTurnEvent>;
	addEventListener<T extends keyof ParleyClientEventMap>(
		type: T, listener: (event: ParleyClientEventMap[T]) => void, options?: boolean | AddEventListenerOptions): void;
	addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

export class ParleyError extends Error {
	/** The server's code, or "network", "cancelled", "protocol", "session_lost" (the session is over; the next message opens another). */
	readonly code: string;
	readonly status: number;
	readonly detail: string;
	readonly retryAfter: number | null;
	readonly sessionId: string | null;
	readonly turnId: string | null;
	readonly requestId: string | null;
	readonly isRetriable: boolean;
	readonly isSessionLost: boolean;
}

export interface ServerSentEvent {
	event: string;
	data: string;
	id: string;
}

export class EventStreamParser {
	/** Takes bytes; returns the events that they completed. */
	push(bytes: Uint8Array): ServerSentEvent[];
}

export function readEvents(body: ReadableStream<Uint8Array>, options?: { idleMs?: number }): AsyncGenerator<ServerSentEvent>;
export function backoff(attempt: number, options?: { base?: number; cap?: number; random?: () => number }): number;
export function parseRetryAfter(value: string | null, now?: number): number | null;
export function contentText(content: unknown, between?: string): string;
