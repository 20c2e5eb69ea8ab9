/* SPDX-License-Identifier: MIT */
/* demo: shows the sites that config.json names side by side, each with its own widget, key and session. */

const SHORT_ID = 14;

/* A word for a POSIX shell. */
function quote(text) {
	return `'${text.replaceAll("'", "'\\''")}'`;
}

function curlLine({ key, agent, base }) {
	const url = new URL(`${base ?? ""}/v1/chat/${encodeURIComponent(agent)}/message`, location.href).href;
	const headers = [`Authorization: Bearer ${key}`, `Origin: ${location.origin}`, "Content-Type: application/json"];
	return [`curl -N ${quote(url)}`, ...headers.map((header) => `  -H ${quote(header)}`),
		`  -d ${quote(JSON.stringify({ message: "Hello", stream: true }))}`].join(" \\\n");
}

function chatFor({ key, agent, base, name, title, agent_title }) {
	const chat = document.createElement("parley-chat");
	const attributes = { key, agent, base: base ?? "", name, heading: agent_title ?? title };
	for (const [attribute, value] of Object.entries(attributes))
		chat.setAttribute(attribute, value);
	return chat;
}

function showSession(place, session) {
	place.textContent = session ? `${session.id.slice(0, SHORT_ID)}…` : "not started";
	place.classList.toggle("none", !session);
	place.title = session?.id ?? "";
}

function card(site) {
	const section = document.querySelector("#site").content.firstElementChild.cloneNode(true);
	const part = (selector) => section.querySelector(selector);
	const chat = chatFor(site);
	section.dataset.site = site.name;
	part("h2").textContent = site.title;
	part(".agent").textContent = site.agent_title ?? site.agent;
	part(".curl").textContent = curlLine(site);
	part(".chat").append(chat);
	showSession(part(".session"), null);
	chat.addEventListener("parley-session", ({ detail }) => showSession(part(".session"), detail));
	part(".copy").addEventListener("click", async ({ target }) => {
		await navigator.clipboard?.writeText(curlLine(site)).catch(() => {});
		target.textContent = "Copied";
		setTimeout(() => (target.textContent = "Copy"), 1500);
	});
	part(".copy").hidden = !navigator.clipboard;
	return section;
}

async function show() {
	const response = await fetch("config.json", { cache: "no-store" });
	if (!response.ok)
		throw new Error(`config.json: ${response.status}`);
	const { sites } = await response.json();
	document.querySelector("#sites").append(...sites.map(card));
}

show().catch((error) => {
	document.querySelector("#problem").textContent =
		`The sites of this demo could not be read (${error.message}). conf/quickstart.sh writes them to demo/config.json.`;
});
