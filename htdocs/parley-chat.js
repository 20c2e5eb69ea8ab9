/* SPDX-License-Identifier: MIT */
/*
 * parley-chat: the chat widget as a custom element in a shadow root.
 *
 *	<script type="module" src="/parley-chat.js"></script>
 *	<parley-chat key="pk_…" agent="helpdesk" heading="Help"></parley-chat>
 *
 * Attributes: key, agent; base (what stands before /v1, default this origin), name (keeps widgets with the same key and agent
 * apart), heading (or title), placeholder, lang. Methods: getSession(), newSession(), clearSession(), send(text), stop(), focus().
 * Events, bubbling: parley-message, parley-session, parley-error; `detail` as in parley-client.d.ts.
 * Message text goes into text nodes only: nothing anybody writes is ever parsed as HTML.
 */

import { ParleyClient } from "./parley-client.js";
import { chooseStrings, errorString } from "./parley-chat-strings.js";
import { sheet } from "./parley-chat-style.js";

const SVG = "http://www.w3.org/2000/svg";
const NEAR_END_PX = 80;
const DOUBLE_CLICK_MS = 600; /* stop takes the place of send: the second click is not for it */
const ICONS = {
	bubble: ["M20 11.5a7.5 7.5 0 0 1-10.9 6.7L4.5 19.5l1.3-4.3A7.5 7.5 0 1 1 20 11.5Z"],
	plus: ["M12 5.5v13", "M5.5 12h13"],
	bin: ["M5 7.5h14", "M9.5 7.5V5.2c0-.4.3-.7.7-.7h3.6c.4 0 .7.3.7.7v2.3", "M7 7.5l.7 11c0 .6.5 1 1 1h6.6c.5 0 1-.4 1-1l.7-11", "M10.2 11v5", "M13.8 11v5"],
	send: ["M20 12 5 5l2.5 7L5 19l15-7Z", "M7.5 12H13"],
	stop: ["M7 7h10v10H7Z"],
	down: ["M12 6v12", "M6.5 12.5 12 18l5.5-5.5"],
};
const CLIENT_ATTRIBUTES = ["key", "agent", "base", "name"];
const TEXT_ATTRIBUTES = ["heading", "title", "placeholder", "lang"];

/* An element with properties (attributes where there is no such property) and children. */
function make(tag, properties = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(properties))
		if (name in element)
			element[name] = value;
		else
			element.setAttribute(name, value);
	element.append(...children);
	return element;
}

function icon(name) {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.setAttribute("aria-hidden", "true");
	for (const d of ICONS[name]) {
		const path = document.createElementNS(SVG, "path");
		path.setAttribute("d", d);
		svg.append(path);
	}
	return svg;
}

function setText(element, text) {
	if (element.textContent !== text)
		element.textContent = text;
}

export class ParleyChat extends HTMLElement {
	static observedAttributes = [...CLIENT_ATTRIBUTES, ...TEXT_ATTRIBUTES];

	#client = null;
	#parts; /* the fixed elements, by name */
	#strings;
	#alert = null; /* key of the alert's text, or null */
	#rows = new Map(); /* item -> { row, author, text, note } */
	#isDrawing = false;
	#isAtEnd = true;
	#isLoadingOlder = false;
	#isStopping = false;
	#sentAt = -Infinity;

	constructor() {
		super();
		const root = this.attachShadow({ mode: "open" });
		root.adoptedStyleSheets = [sheet];
		root.append(this.#build());
		this.#listen();
	}

	connectedCallback() {
		this.#retext();
		this.#connect();
	}

	disconnectedCallback() {
		this.#disconnect();
	}

	attributeChangedCallback(name, before, now) {
		if (!this.isConnected || !this.#strings || before === now) /* an element in the page gets its attributes before it is told that it is there */
			return;
		if (CLIENT_ATTRIBUTES.includes(name)) {
			this.#disconnect();
			this.#connect();
		} else {
			this.#retext();
		}
	}

	/* The headless client, null while the element lacks its key or agent or is not in a page. */
	get client() {
		return this.#client;
	}

	getSession() {
		return this.#client?.getSession() ?? null;
	}

	async newSession() {
		this.#say(null);
		await this.#client?.newSession();
	}

	async clearSession() {
		this.#say(null);
		await this.#client?.clearSession();
	}

	focus(options) {
		this.#parts.input.focus(options);
	}

	/* Sends text as if the visitor had typed it. */
	send(text) {
		this.#say(null);
		this.#isAtEnd = true;
		return this.#client.send(text);
	}

	/* Stops the answer that is on its way; what came of it stays. */
	async stop() {
		if (!this.#client?.isBusy || this.#isStopping)
			return;
		this.#isStopping = true;
		this.#say(null);
		this.#drawButtons();
		try {
			await this.#client.cancel();
		} catch (error) {
			if (error.code !== "cancelled")
				this.#failed(error);
		}
		this.#isStopping = false;
		this.#drawButtons();
	}

	/* ---- client ---- */

	#connect() {
		const [key, agent, base, name] = CLIENT_ATTRIBUTES.map((attribute) => this.getAttribute(attribute) ?? "");
		if (key === "" || agent === "")
			return;
		const client = new ParleyClient({ key, agent, base, name, onBusy: "queue" });
		this.#client = client;
		client.addEventListener("change", () => this.#draw());
		client.addEventListener("message", ({ detail }) => this.#tell("message", { ...detail, sessionId: client.getSession()?.id ?? null }));
		client.addEventListener("session", ({ detail }) => this.#tell("session", detail));
		client.addEventListener("error", ({ detail }) => this.#failed(detail));
		client.addEventListener("return", ({ detail }) => this.#giveBack(detail.text));
		client.start().then(() => this.#client === client && client.getSession() && this.#tell("session", client.getSession()));
		this.#draw();
	}

	#disconnect() {
		this.#client?.stop();
		this.#client = null;
		this.#draw();
	}

	#tell(name, detail) {
		this.dispatchEvent(new CustomEvent(`parley-${name}`, { detail, bubbles: true, composed: true }));
	}

	#failed(error) {
		this.#say(errorString(error));
		this.#tell("error", error);
	}

	/* What was typed comes back, before what has been typed since. */
	#giveBack(text) {
		const { input } = this.#parts;
		input.value = input.value.trim() === "" ? text : `${text}\n${input.value}`;
		this.#fit();
	}

	/* ---- what never changes ---- */

	#build() {
		const p = {
			heading: make("h2", { id: "heading" }),
			status: make("p", { className: "status", role: "status" }),
			fresh: make("button", { type: "button", className: "icon" }, icon("plus")),
			clear: make("button", { type: "button", className: "icon" }, icon("bin")),
			ask: make("p", { id: "ask" }),
			yes: make("button", { type: "button", className: "small filled" }),
			no: make("button", { type: "button", className: "small plain" }),
			older: make("button", { type: "button", className: "small plain older", hidden: true }),
			empty: make("p", { className: "empty" }),
			log: make("div", { className: "log", role: "log", tabIndex: 0, "aria-live": "polite" }),
			latest: make("button", { type: "button", className: "latest", hidden: true }, icon("down")),
			alert: make("div", { className: "alert", role: "alert" }),
			label: make("label", { className: "only-read", htmlFor: "input" }),
			input: make("textarea", { id: "input", rows: 1, autocomplete: "off", enterKeyHint: "send" }),
			stop: make("button", { type: "button", className: "stop", hidden: true, "aria-keyshortcuts": "Escape" }, icon("stop")),
			send: make("button", { type: "submit", className: "send", disabled: true }, icon("send")),
		};
		p.log.append(p.older, p.empty);
		p.confirm = make("div", { className: "confirm", role: "group", "aria-labelledby": "ask", hidden: true }, p.ask, p.no, p.yes);
		p.form = make("form", { noValidate: true }, p.label, make("div", { className: "field" }, p.input), p.stop, p.send);
		p.panel = make("section", { className: "panel", "aria-labelledby": "heading" },
			make("header", {}, make("span", { className: "mark", "aria-hidden": "true" }, icon("bubble")),
				make("div", { className: "names" }, p.heading, p.status), p.fresh, p.clear),
			p.confirm, make("div", { className: "stage" }, p.log, p.latest), p.alert, p.form);
		this.#parts = p;
		return p.panel;
	}

	#listen() {
		const p = this.#parts;
		p.form.addEventListener("submit", (event) => {
			event.preventDefault();
			this.#submit();
		});
		p.input.addEventListener("input", () => this.#fit());
		p.input.addEventListener("keydown", (event) => this.#key(event));
		p.fresh.addEventListener("click", () => this.newSession().then(() => p.input.focus()));
		p.clear.addEventListener("click", () => this.#ask(true));
		p.no.addEventListener("click", () => this.#ask(false));
		p.yes.addEventListener("click", () => {
			this.#ask(false);
			this.clearSession();
		});
		p.stop.addEventListener("click", () => performance.now() - this.#sentAt > DOUBLE_CLICK_MS && this.stop());
		p.panel.addEventListener("keydown", (event) => this.#escape(event));
		p.older.addEventListener("click", () => this.#loadOlder());
		p.latest.addEventListener("click", () => this.#toEnd());
		p.log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
		new ResizeObserver(() => this.#isAtEnd && this.#toEnd()).observe(p.log);
	}

	/* Return sends and Shift+Return starts a new line, but not while an input method composes a character. */
	#key(event) {
		if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229)
			return;
		event.preventDefault();
		this.#submit();
	}

	/* Escape closes the question whether to clear, or stops the answer. */
	#escape(event) {
		if (event.key !== "Escape" || event.isComposing)
			return;
		if (!this.#parts.confirm.hidden)
			this.#ask(false);
		else
			this.stop();
	}

	#submit() {
		const { input } = this.#parts;
		const text = input.value;
		if (text.trim() === "" || !this.#client)
			return;
		this.#sentAt = performance.now();
		input.value = "";
		this.#fit();
		this.send(text);
		input.focus();
	}

	/* The field follows its text: height (up to the sheet's limit), direction, and whether there is anything to send. */
	#fit() {
		const { input, send } = this.#parts;
		input.dir = input.value === "" ? "" : "auto"; /* the placeholder follows the panel */
		input.style.blockSize = "auto";
		input.style.blockSize = input.value === "" ? "" : `${input.scrollHeight}px`;
		send.disabled = input.value.trim() === "";
		this.#drawButtons();
	}

	/* While an answer comes, stop is there; in the place of send, unless there is something to send. The focus is never lost with a button. */
	#drawButtons() {
		const { input, send, stop } = this.#parts;
		const isBusy = this.#client?.isBusy ?? false;
		const { activeElement } = this.shadowRoot;
		stop.hidden = !isBusy;
		stop.setAttribute("aria-disabled", String(this.#isStopping));
		send.hidden = isBusy && send.disabled;
		if (activeElement?.hidden)
			input.focus();
	}

	#ask(isOpen) {
		const { confirm, no, input } = this.#parts;
		confirm.hidden = !isOpen;
		(isOpen ? no : input).focus();
	}

	/* ---- texts ---- */

	#retext() {
		const p = this.#parts;
		const { language, direction, strings } = chooseStrings([this.closest("[lang]")?.lang, ...(navigator.languages ?? [])]);
		this.#strings = strings;
		p.panel.lang = language;
		p.panel.dir = direction;
		setText(p.heading, this.getAttribute("heading") ?? this.getAttribute("title") ?? strings.heading);
		setText(p.label, strings.label);
		p.input.placeholder = this.getAttribute("placeholder") ?? strings.placeholder;
		p.log.setAttribute("aria-label", strings.log);
		for (const [part, text] of [["older", "older"], ["empty", "empty"], ["ask", "clearAsk"], ["yes", "clearYes"], ["no", "clearNo"]])
			setText(p[part], strings[text]);
		for (const [part, text] of [["fresh", "newSession"], ["clear", "clear"], ["latest", "latest"], ["send", "send"], ["stop", "stop"]]) {
			p[part].setAttribute("aria-label", strings[text]);
			p[part].title = strings[text];
		}
		this.#say(this.#alert);
		this.#draw();
	}

	#say(alert) {
		this.#alert = alert;
		setText(this.#parts.alert, alert ? this.#strings[alert] : "");
	}

	/* ---- messages ---- */

	/* Draws once a frame, however many changes there were. */
	#draw() {
		if (this.#isDrawing)
			return;
		this.#isDrawing = true;
		requestAnimationFrame(() => {
			this.#isDrawing = false;
			this.#drawNow();
		});
	}

	#drawNow() {
		const p = this.#parts;
		const items = this.#client?.messages ?? [];
		const fromEnd = p.log.scrollHeight - p.log.scrollTop;
		const isLonger = items.length > this.#rows.size + 2;
		p.log.setAttribute("aria-live", isLonger ? "off" : "polite"); /* a history is not read out */
		this.#drawRows(items);
		p.older.hidden = !this.#client?.hasOlder;
		p.empty.hidden = items.length > 0;
		p.fresh.disabled = p.clear.disabled = items.length === 0 && !this.getSession();
		this.#drawStatus();
		this.#drawButtons();
		if (this.#isAtEnd)
			this.#toEnd();
		else if (this.#isLoadingOlder)
			p.log.scrollTop = p.log.scrollHeight - fromEnd;
	}

	#drawStatus() {
		const { status } = this.#parts;
		const isConnected = this.#client?.isConnected ?? true;
		status.classList.toggle("trouble", !isConnected);
		setText(status, this.#strings[isConnected ? "online" : "reconnecting"]);
	}

	#drawRows(items) {
		const { log } = this.#parts;
		const known = new Set(items);
		for (const [item, { row }] of this.#rows)
			if (!known.has(item)) {
				row.remove();
				this.#rows.delete(item);
			}
		let place = this.#parts.empty;
		for (const [i, item] of items.entries()) {
			const row = this.#drawRow(item, items[i - 1]);
			if (place.nextSibling !== row)
				log.insertBefore(row, place.nextSibling);
			place = row;
		}
	}

	#drawRow(item, before) {
		const s = this.#strings;
		let parts = this.#rows.get(item);
		if (!parts) {
			parts = { author: make("span", { className: "only-read" }), text: make("div", { className: "text", dir: "auto" }),
				note: make("div", { className: "note", hidden: true }), noted: "" };
			parts.row = make("div", {}, parts.author, parts.text, parts.note);
			this.#rows.set(item, parts);
		}
		const { row, author, text } = parts;
		row.className = `message ${item.role} ${item.state}${before?.role === item.role ? "" : " turn"}`;
		setText(author, `${item.role === "user" ? s.you : this.getAttribute("heading") ?? s.agent}: `);
		if (item.state === "streaming")
			row.setAttribute("aria-busy", "true"); /* read out when it is whole */
		else
			row.removeAttribute("aria-busy");
		if (item.text === "" && !text.firstElementChild)
			text.replaceChildren(make("span", { className: "dots" }, make("i"), make("i"), make("i")),
				make("span", { className: "only-read" }, s.answering));
		else if (item.text !== "")
			setText(text, item.text);
		this.#drawNote(item, parts);
		return row;
	}

	#drawNote(item, parts) {
		const s = this.#strings;
		const notes = { waiting: s.waiting, streaming: item.isLooking ? s.looking : "", stopped: s.stopped,
			failed: item.role === "assistant" ? s.broken : item.seq === null ? s.unsent : s.unanswered };
		const note = notes[item.state] ?? "";
		if (parts.noted === note)
			return;
		parts.noted = note;
		parts.note.hidden = note === "";
		parts.note.replaceChildren(note);
		if (item.state === "failed" && item.role === "user") {
			const retry = make("button", { type: "button", className: "retry" }, s.retry);
			retry.addEventListener("click", () => {
				this.#say(null);
				this.#isAtEnd = true;
				this.#client.retry(item);
				this.#parts.input.focus();
			});
			parts.note.append(retry);
		}
	}

	/* ---- scrolling ---- */

	#scrolled() {
		const { log, latest } = this.#parts;
		this.#isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
		latest.hidden = this.#isAtEnd;
		if (log.scrollTop < NEAR_END_PX && !this.#isAtEnd)
			this.#loadOlder();
	}

	#toEnd() {
		const { log, latest } = this.#parts;
		log.scrollTop = log.scrollHeight;
		this.#isAtEnd = true;
		latest.hidden = true;
	}

	/* Older messages come in above, and what is read stays where it is. */
	async #loadOlder() {
		if (this.#isLoadingOlder || !this.#client?.hasOlder)
			return;
		this.#isLoadingOlder = true;
		this.#isAtEnd = false;
		await this.#client.loadOlder();
		await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
		this.#isLoadingOlder = false;
	}
}

if (!customElements.get("parley-chat"))
	customElements.define("parley-chat", ParleyChat);
