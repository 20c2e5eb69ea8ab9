// SPDX-License-Identifier: MIT
// chaos: idempotent clients that append and read while others break things, and a judge at the end.
//   node chaos.mjs NAME [--seconds 5] [--clients 8] [--sessions 4] [--rate N] [--strict] | --self-test
// Environment URL, SK. --rate: so many requests a second in all, instead of as many as go. --strict: a request that had to be repeated is a failure.
// Ends early, gently, on SIGTERM.
import { randomUUID } from 'node:crypto';
import { check, finish, request, sleep, step } from './api.mjs';
import { judgeHistory, judgeSelf } from './history.mjs';

const options = { seconds: 5, clients: 8, sessions: 4, rate: 0, strict: false };
const [, , name, ...rest] = process.argv;
for (let i = 0; i < rest.length; i++) {
	const option = rest[i].replace(/^--/, '');
	options[option] = option === 'strict' ? true : Number(rest[++i]);
}

const key = process.env.SK;
const attempts = new Map();
const newest = new Map();    // session -> the highest acknowledged seq
const troubles = [];         // answers and errors that made a client repeat
const stale = [];
let reads = 0;
let appends = 0;
let isOver = false;
process.on('SIGTERM', () => {
	isOver = true;
});

// Repeats one request until it is answered as hoped, at most half a minute.
async function persist(what, send, isDone) {
	const until = Date.now() + 30000;
	for (let tries = 0; ; tries++) {
		let seen;
		try {
			const rs = await send();
			if (isDone(rs))
				return rs;
			seen = `${rs.status} ${rs.text.slice(0, 200)}`;
		} catch (error) {
			seen = String(error.message);
		}
		troubles.push(`${what}: ${seen}`);
		if (Date.now() > until)
			return null;
		await sleep(Math.min(20 * 2 ** tries, 300) * (0.5 + Math.random()));
	}
}

async function append(session) {
	const op = randomUUID();
	const attempt = { session, acks: [] };
	attempts.set(op, attempt);
	const rs = await persist('append', () => request('POST', `/v1/sessions/${session}/messages`, {
		key, body: { role: 'user', content: op }, headers: { 'Idempotency-Key': op }, timeout: 15000,
	}), (a) => a.status === 201 || a.status === 200);
	if (!rs)
		return;
	appends++;
	attempt.acks.push(rs.json.seq);
	newest.set(session, Math.max(newest.get(session) ?? 0, rs.json.seq));
}

// A read that began after an acknowledgement must show it.
async function read(session) {
	const least = newest.get(session) ?? 0;
	const rs = await persist('read', () => request('GET', `/v1/sessions/${session}?messages=5`, { key, timeout: 15000 }), (a) => a.status === 200);
	if (!rs)
		return;
	reads++;
	const seen = Math.max(rs.json.message_count, rs.json.messages.at(-1)?.seq ?? 0);
	if (seen < least || (rs.json.messages.at(-1)?.seq ?? 0) < least)
		stale.push(`${session}: ${seen} after ${least} was acknowledged`);
}

const some = (list) => list[Math.floor(Math.random() * list.length)];
const act = (sessions) => (Math.random() < 0.4 ? append(some(sessions)) : read(some(sessions)));

async function clientLoop(sessions, until) {
	while (!isOver && Date.now() < until)
		await act(sessions);
}

// Open loop: requests start when their time comes, however long others take.
async function paced(sessions, until) {
	const running = new Set();
	const began = Date.now();
	for (let n = 0; !isOver && Date.now() < until; n++) {
		const wait = began + (n * 1000) / options.rate - Date.now();
		if (wait > 0)
			await sleep(wait);
		const one = act(sessions).finally(() => running.delete(one));
		running.add(one);
	}
	await Promise.all(running);
}

async function history(session) {
	const messages = [];
	for (let after = 0; after !== null;) {
		const rs = await persist('history', () => request('GET', `/v1/sessions/${session}/messages?limit=100&after=${after}`, { key }), (a) => a.status === 200);
		if (!rs)
			throw new Error(`the history of ${session} cannot be read`);
		messages.push(...rs.json.data);
		after = rs.json.has_more ? rs.json.next : null;
	}
	return messages;
}

async function run() {
	const sessions = [];
	for (let i = 0; i < options.sessions; i++) {
		const id = `chaos-${randomUUID()}`;
		const rs = await persist('create', () => request('POST', '/v1/sessions', { key, body: { agent: 'echo', id, if_exists: 'return' } }), (a) => a.status === 201 || a.status === 200);
		if (!rs)
			throw new Error('no session could be made');
		sessions.push(id);
	}
	const until = Date.now() + options.seconds * 1000;
	if (options.rate)
		await paced(sessions, until);
	else
		await Promise.all(Array.from({ length: options.clients }, () => clientLoop(sessions, until)));

	const stored = new Map();
	for (const session of sessions)
		stored.set(session, await history(session));
	const faults = judgeHistory(attempts, stored);
	const unanswered = [...attempts.values()].filter((a) => a.acks.length === 0).length;
	console.log(`# ${name}: ${appends} appends, ${reads} reads, ${troubles.length} repeated, ${unanswered} never answered`);
	check(`${name}: clients got work done`, appends > 10 && reads > 10, { appends, reads, troubles: troubles.slice(0, 5) });
	check(`${name}: no acknowledged message is lost or doubled, seq is dense`, faults.length === 0, faults.slice(0, 10).join('; '));
	check(`${name}: no read is older than an acknowledged write`, stale.length === 0, `${stale.length} of ${reads}: ${stale.slice(0, 5).join('; ')}`);
	check(`${name}: every request is answered in the end`, unanswered === 0, troubles.slice(-5));
	if (options.strict)
		check(`${name}: no request fails`, troubles.length === 0, `${troubles.length}: ${troubles.slice(0, 5).join('; ')}`);
}

if (name === '--self-test')
	judgeSelf(check);
else
	await step(`${name}: runs`, run);
finish();
