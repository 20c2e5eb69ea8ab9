/* SPDX-License-Identifier: MIT */
/*
 * parley-chat-style: the widget's style sheet, built in script because that is what a strict Content-Security-Policy allows.
 * A page sets the theme through custom properties on the element:
 *	--parley-accent --parley-on-accent   colour of buttons and of the visitor's bubbles, and of the text on it
 *	--parley-surface --parley-bubble     background; background of the agent's bubbles
 *	--parley-text --parley-muted --parley-border --parley-danger
 *	--parley-radius --parley-font --parley-height
 */

const CSS = `
:host {
	--accent: var(--parley-accent, #3a5bd9);
	--on-accent: var(--parley-on-accent, #ffffff);
	--surface: var(--parley-surface, #ffffff);
	--bubble: var(--parley-bubble, #f0f2f7);
	--text: var(--parley-text, #1b2030);
	--muted: var(--parley-muted, #5d6579);
	--border: var(--parley-border, #e1e5ee);
	--danger: var(--parley-danger, #b3261e);
	--field: #868da0;
	--radius: var(--parley-radius, 18px);
	color-scheme: light dark;
	display: block;
	block-size: var(--parley-height, 36rem);
	max-block-size: 100vh;
	max-block-size: 100dvh;
	min-inline-size: 0;
	font: 400 0.9375rem/1.5 var(--parley-font, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif);
	text-align: start;
}
:host([hidden]) { display: none; }
@media (prefers-color-scheme: dark) {
	:host {
		--accent: var(--parley-accent, #5b7cfa);
		--on-accent: var(--parley-on-accent, #0b1024);
		--surface: var(--parley-surface, #161a24);
		--bubble: var(--parley-bubble, #242a38);
		--text: var(--parley-text, #e9ecf4);
		--muted: var(--parley-muted, #a3abbd);
		--border: var(--parley-border, #2d3445);
		--danger: var(--parley-danger, #ffb4ab);
		--field: #737c90;
	}
}
*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
.panel {
	position: relative;
	display: flex;
	flex-direction: column;
	block-size: 100%;
	overflow: hidden;
	color: var(--text);
	background: var(--surface);
	border: 1px solid var(--border);
	border-radius: var(--radius);
	box-shadow: 0 1px 2px rgb(16 24 40 / 0.05), 0 12px 32px -12px rgb(16 24 40 / 0.18);
}
.only-read {
	position: absolute;
	inline-size: 1px;
	block-size: 1px;
	overflow: hidden;
	clip-path: inset(50%);
	white-space: nowrap;
}
button {
	font: inherit;
	color: inherit;
	background: none;
	border: 0;
	padding: 0;
	cursor: pointer;
}
button:disabled { cursor: default; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
svg { display: block; inline-size: 20px; block-size: 20px; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linecap: round; stroke-linejoin: round; }

header {
	display: flex;
	align-items: center;
	gap: 0.75rem;
	padding: 0.75rem 0.75rem 0.75rem 1rem;
	border-block-end: 1px solid var(--border);
}
.mark {
	flex: none;
	display: grid;
	place-items: center;
	inline-size: 38px;
	block-size: 38px;
	border-radius: 50%;
	color: var(--on-accent);
	background: var(--accent);
}
.names { flex: 1; min-inline-size: 0; }
h2 { margin: 0; font-size: 1rem; font-weight: 650; line-height: 1.3; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.status { margin: 0; font-size: 0.8125rem; line-height: 1.3; color: var(--muted); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.status::before {
	content: "";
	display: inline-block;
	inline-size: 7px;
	block-size: 7px;
	margin-inline-end: 0.4em;
	border-radius: 50%;
	background: #2e9e5b;
	vertical-align: 0.08em;
}
.status.trouble::before { background: #d98200; }
.icon {
	flex: none;
	display: grid;
	place-items: center;
	inline-size: 36px;
	block-size: 36px;
	border-radius: 10px;
	color: var(--muted);
}
.icon:hover:not(:disabled) { background: var(--bubble); color: var(--text); }
.icon:disabled { opacity: 0.4; }

.confirm {
	display: flex;
	flex-wrap: wrap;
	align-items: center;
	gap: 0.5rem;
	padding: 0.5rem 1rem;
	border-block-end: 1px solid var(--border);
	background: var(--bubble);
}
.confirm p { flex: 1; margin: 0; min-inline-size: 10rem; }
.small { min-block-size: 32px; padding: 0.2rem 0.8rem; border-radius: 999px; font-size: 0.875rem; font-weight: 600; }
.small.filled { background: var(--danger); color: var(--surface); }
.small.plain { border: 1px solid var(--border); background: var(--surface); }

.stage { position: relative; flex: 1; min-block-size: 0; display: flex; }
.log {
	flex: 1;
	min-inline-size: 0;
	display: flex;
	flex-direction: column;
	gap: 0.25rem;
	padding: 1rem;
	overflow-y: auto;
	overscroll-behavior: contain;
	overflow-anchor: none;
	scrollbar-width: thin;
	scrollbar-color: var(--border) transparent;
}
.log:focus-visible { outline-offset: -3px; }
.log::before { content: ""; margin-block-start: auto; }
.empty { flex: 1; display: grid; place-content: center; margin: 0; padding: 1rem; text-align: center; text-wrap: balance; color: var(--muted); }
.older { align-self: center; margin-block-end: 0.75rem; color: var(--text); }

.message { display: flex; flex-direction: column; align-items: flex-start; max-inline-size: min(85%, 40rem); animation: rise 160ms ease-out; }
.message.user { align-self: flex-end; align-items: flex-end; }
.message.assistant { align-self: flex-start; }
.message + .message.turn { margin-block-start: 0.625rem; }
.text {
	max-inline-size: 100%;
	padding: 0.5rem 0.875rem;
	border-radius: 18px;
	background: var(--bubble);
	white-space: pre-wrap;
	overflow-wrap: anywhere;
	unicode-bidi: plaintext;
}
.user .text { background: var(--accent); color: var(--on-accent); border-end-end-radius: 6px; }
.assistant .text { border-end-start-radius: 6px; }
.message.waiting .text { color: var(--text); background: none; box-shadow: inset 0 0 0 1.5px var(--accent); }
.note { display: flex; flex-wrap: wrap; align-items: center; gap: 0.25rem 0.5rem; margin: 0.125rem 0.375rem 0; font-size: 0.8125rem; color: var(--muted); }
.failed .note { color: var(--danger); }
.retry { min-block-size: 24px; padding: 0 0.25rem; font-weight: 650; text-decoration: underline; text-underline-offset: 2px; border-radius: 4px; }
.dots { display: inline-flex; gap: 4px; padding-block: 0.45em; }
.dots i { inline-size: 7px; block-size: 7px; border-radius: 50%; background: var(--muted); animation: blink 1.2s infinite both; }
.streaming .text:not(:has(.dots))::after {
	content: "";
	display: inline-block;
	inline-size: 7px;
	block-size: 7px;
	margin-inline-start: 0.4em;
	border-radius: 50%;
	background: var(--muted);
	vertical-align: 0.08em;
	animation: blink 1.2s infinite both;
}
.dots i:nth-child(2) { animation-delay: 0.15s; }
.dots i:nth-child(3) { animation-delay: 0.3s; }

.latest {
	position: absolute;
	inset-block-end: 0.75rem;
	inset-inline-start: 50%;
	translate: -50% 0;
	display: grid;
	place-items: center;
	inline-size: 36px;
	block-size: 36px;
	border: 1px solid var(--border);
	border-radius: 50%;
	background: var(--surface);
	box-shadow: 0 4px 12px rgb(16 24 40 / 0.16);
}
.latest:dir(rtl) { translate: 50% 0; }
.alert { color: var(--danger); font-size: 0.875rem; line-height: 1.4; }
.alert:not(:empty) { padding: 0.5rem 1rem 0; }

form { display: flex; align-items: flex-end; gap: 0.5rem; padding: 0.75rem; }
.field {
	flex: 1;
	min-inline-size: 0;
	display: flex;
	border: 1px solid var(--field);
	border-radius: 22px;
	background: var(--surface);
}
.field:focus-within { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
textarea {
	flex: 1;
	min-inline-size: 0;
	min-block-size: 42px;
	max-block-size: 9rem;
	padding: 0.55rem 1rem;
	border: 0;
	border-radius: inherit;
	resize: none;
	font: inherit;
	font-size: 1rem;
	line-height: 1.45;
	color: inherit;
	background: none;
	scrollbar-width: thin;
}
textarea:focus-visible { outline: none; }
textarea::placeholder { color: var(--muted); opacity: 1; }
.send, .stop {
	flex: none;
	display: grid;
	place-items: center;
	inline-size: 44px;
	block-size: 44px;
	border-radius: 50%;
	color: var(--on-accent);
	background: var(--accent);
	transition: background-color 120ms, color 120ms;
}
.send:disabled { color: var(--muted); background: var(--bubble); }
.stop svg { fill: currentColor; }
.stop[aria-disabled="true"] { opacity: 0.5; }
.send:hover:not(:disabled), .stop:hover { filter: brightness(1.08); }
.send:dir(rtl) svg { scale: -1 1; }

@keyframes rise { from { opacity: 0; translate: 0 4px; } }
@keyframes blink { 0%, 70%, 100% { opacity: 0.25; } 35% { opacity: 1; } }
@media (prefers-reduced-motion: reduce) {
	*, *::before, *::after { animation: none !important; transition: none !important; }
}
@media (max-width: 30rem) {
	header { padding-inline-start: 0.75rem; }
	.log { padding: 0.75rem; }
	form { padding: 0.5rem; }
	.message { max-inline-size: 90%; }
}
@media (forced-colors: active) {
	.text, .send, .stop, .mark, .icon { border: 1px solid; }
}
`;

/* One sheet, shared by all widgets of a page. */
export const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);
