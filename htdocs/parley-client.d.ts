/* SPDX-License-Identifier: MIT */
/* parley-client.d.ts: the types of parley-client.js. */

export interface ParleyClientOptions extends ParleySendOptions {
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

/** How a message is answered; what is left out is as the API has it. Given to the constructor: for all messages. */
export interface ParleySendOptions {
	/** What becomes of a message when a turn runs that others have begun: refused and tried again by this client; in line; or in its place. */
	onBusy?: "reject" | "queue" | "interrupt";
	/** Whether the answer is finished when nobody reads it. */
	onDisconnect?: "continue" | "cancel";
	/** How often the model may ask for tools, 1 to 50. */
	maxIterations?: number;
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
	| "stopped" /* an answer as far as it came; a message: stopped before there was any */
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
	/** Whether the answer waits for tools. */
	readonly isLooking: boolean;
}

/** Since the last `reset` or `step`, the texts of `delta` together are the answer's. `lastEventId` is where follow() goes on. */
export type ParleyTurnEvent =
	| { type: "queued"; position: number } /* the message waits for others' turns */
	| { type: "turn"; sessionId: string; turnId: string; seq: number; lastEventId?: string } /* of send(): again when a lost turn is taken up anew; the text goes on */
	| { type: "delta"; text: string; lastEventId?: string }
	| { type: "reset"; reason?: string; lastEventId?: string } /* the text so far came to nothing */
	| { type: "step"; index: number; text: string; toolCalls: ParleyToolCall[]; lastEventId?: string } /* `text` is repeated in it */
	| { type: "tool"; index: number; toolCallId: string; name: string; result: unknown; isError: boolean; durationMs: number | null; lastEventId?: string }
	| { type: "done"; role: "assistant"; text: string; seq: number | null; turnId: string; finish: string; lastEventId?: string };

export interface ParleyToolCall {
	id: string;
	name: string;
	arguments: unknown;
}

/** A turn as the API gives it; see its description for all members. */
export interface ParleyTurn {
	id: string;
	status: "running" | "done" | "failed" | "cancelled";
	user_seq: number;
	answer_seq: number | null;
	result: string;
	[member: string]: unknown;
}

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
	/** Whether an answer is on its way, so that cancel() stops it. */
	readonly isBusy: boolean;
	getSession(): ParleySession | null;
	start(): Promise<void>;
	stop(): void;
	refresh(): Promise<void>;
	loadOlder(): Promise<boolean>;
	newSession(): Promise<void>;
	clearSession(): Promise<void>;
	createSession(fields?: Record<string, unknown>): Promise<Record<string, unknown> & { id: string }>;
	send(text: string, options?: ParleySendOptions): AsyncIterable<ParleyTurnEvent>;
	/** Sends a failed message again; the server does not store it twice. One that others have followed is sent as a new one. */
	retry(message: ParleyMessage): AsyncIterable<ParleyTurnEvent>;
	/** Stops a turn, by default the one whose answer is on its way. What came of it stays. Resolves to the turn as it ended, or null. */
	cancel(turnId?: string): Promise<ParleyTurn | null>;
	/** A turn's events to its end, across broken connections: from its start, or behind an event. Throws ParleyError when it failed or is unknown. */
	follow(turnId: string, options?: { lastEventId?: string }): AsyncGenerator<ParleyTurnEvent>;
	/** The session's turns that run now, newest first. */
	runningTurns(): Promise<ParleyTurn[]>;
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
	readonly isPassing: boolean;
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
