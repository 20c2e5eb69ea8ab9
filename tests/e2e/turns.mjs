// SPDX-License-Identifier: MIT
// turns: clients that ask with an Idempotency-Key, hang up, ask again and watch each other's answers, while workers are killed; and a judge of what
// came of it. The agent "marked" answers with TOKENS tokens of which each bears the number of the provider's call.
//
//   node turns.mjs chaos --turns N --clients N --kills N --seed N [--bug NAME] [--patience MS]     environment URL, SK, STUB (its address), MASTER (a process id), TOKENS, LEASE
//   node turns.mjs stop NAME          cancelling and hanging up behind one web server; agents "long" and "marked"
//   node turns.mjs --self-test        the judge judged
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { check, finish, request, sleep, step } from './api.mjs';
import { callText, judge, judgeSelf, textOf } from './turns-judge.mjs';

const options = { turns: 40, clients: 10, kills: 12, seed: 1, patience: 30000, bug: '' };
const [, , mode, ...rest] = process.argv;
const name = mode === 'stop' ? rest.shift() : mode;
for (let i = 0; i + 1 < rest.length; i += 2) {
	const option = rest[i].replace(/^--/, '');
	options[option] = option === 'bug' ? rest[i + 1] : Number(rest[i + 1]);
}
const { SK, STUB, MASTER } = process.env;
const tokens = Number(process.env.TOKENS ?? 40);
const lease = Number(process.env.LEASE ?? 1000);
const now = () => performance.timeOrigin + performance.now();

// Decisions follow from the seed; when they take effect does not.
function dice(seed) {
	let a = seed >>> 0;
	return () => {
		a = (a + 0x6d2b79f5) | 0;
		let t = Math.imul(a ^ (a >>> 15), 1 | a);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}
const roll = dice(options.seed);

// What one reader of a turn sees, over as many connections as it takes: its text is that of the deltas since the last reset or step.
class Viewer {
	text = '';
	turn = null;
	lastId = null;
	done = null;
	error = null;
	resumed = 0;

	take({ id, event, data }) {
		if (options.bug === 'lose' && event === 'delta' && roll() < 0.1)
			return;
		if (id && !(options.bug === 'double' && event === 'delta' && roll() < 0.9))
			this.lastId = id;
		if (event === 'turn')
			[this.turn, this.of] = [data.turn_id, data.user_message?.content];
		else if (event === 'delta')
			this.text += data.text;
		else if (event === 'reset' || event === 'step')
			this.text = '';
		else if (event === 'done' || event === 'error')
			this[event] = data;
	}
}

function parseEvent(block) {
	const event = { id: null, event: '', data: '' };
	for (const line of block.split('\n')) {
		const match = /^(id|event|data): ?(.*)$/.exec(line);
		if (match)
			event[match[1]] = match[2];
	}
	event.data = event.data ? JSON.parse(event.data) : null;
	return event;
}

// One connection: feeds the viewer. Resolves with {how, status, json}: how is done, error, cut, dropped or refused. It hangs up after `dropAfter` ms or
// when `drop` (an AbortSignal) says so.
function watch(viewer, method, path, { body, headers = {}, dropAfter = null, drop, onEvent } = {}) {
	return new Promise((resolve) => {
		let isOver = false, timer = null;
		const rq = http.request(process.env.URL + path, { method, agent: false, timeout: 30000,
			headers: { Authorization: `Bearer ${SK}`, 'Content-Type': 'application/json', ...headers } });
		const end = (how, more = {}) => {
			if (isOver)
				return;
			isOver = true;
			clearTimeout(timer);
			rq.destroy();
			resolve({ how, ...more });
		};
		if (dropAfter !== null)
			timer = setTimeout(() => end('dropped'), dropAfter);
		drop?.addEventListener('abort', () => end('dropped'));
		rq.on('timeout', () => end('cut', { why: 'silence' }));
		rq.on('error', (error) => end('cut', { why: error.message }));
		rq.on('response', (rs) => {
			const decoder = new TextDecoder();
			const isStream = rs.statusCode === 200 && String(rs.headers['content-type']).startsWith('text/event-stream');
			let text = '';
			rs.on('error', () => end('cut'));
			rs.on('aborted', () => end('cut'));
			rs.on('data', (piece) => {
				if (isOver)
					return;
				text += decoder.decode(piece, { stream: true });
				for (let at; isStream && !isOver && (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) {
					const event = parseEvent(text.slice(0, at));
					if (!event.event)
						continue;
					viewer.take(event);
					onEvent?.(event);
					if (event.event === 'done' || event.event === 'error')
						end(event.event, { json: event.data });
				}
			});
			rs.on('end', () => {
				if (isStream)
					return end('cut');
				let json = null;
				try {
					json = JSON.parse(text);
				} catch {
					// said below
				}
				return end(rs.statusCode === 200 ? 'done' : 'refused', { status: rs.statusCode, json, text: text.slice(0, 200) });
			});
		});
		rq.end(body ? JSON.stringify(body) : undefined);
	});
}

const counts = { asked: 0, drops: 0, cuts: 0, refused: {}, resumed: 0 };

// Follows a turn to its end over any number of connections.
async function follow(viewer, session, turn) {
	const until = now() + 10000 + options.patience;
	viewer.turn = turn;
	while (!viewer.done && !viewer.error && now() < until) {
		const headers = viewer.lastId ? { 'Last-Event-ID': viewer.lastId } : {};
		const end = await watch(viewer, 'GET', `/v1/sessions/${session}/turns/${turn}/stream`, { headers, dropAfter: roll() < 0.3 ? roll() * 1500 : null });
		viewer.resumed++;
		counts.resumed++;
		if (end.how === 'refused' && end.status < 500 && end.status !== 429) {
			viewer.error = { code: `refused ${end.status} ${end.text}` };
			viewer.isRefused = true;
		}
		await sleep(20 + roll() * 150);
	}
}

// The turn that runs a moment later, as somebody sees it who has not asked.
async function findRunning(session) {
	await sleep(100 + roll() * 400);
	const rs = await request('GET', `/v1/sessions/${session}/turns?status=running`, { key: SK }).catch(() => null);
	return rs?.json?.data?.[0]?.id;
}

// Asks with one key until it is answered. The record is what the judge gets.
async function ask(session, key, say, watchers, until) {
	const record = { key, session, say, replies: [], viewers: [], tries: 0, seen: [] };
	const began = now();
	const watchTurn = (viewer, turn) => {
		record.viewers.push(viewer);
		watchers.push(follow(viewer, session, turn));
	};
	let wanted = roll() < 0.2 ? 2 : 1; // answers: the second is a replay
	const stream = roll() < 0.75; // a key's request stays the same
	while (wanted > 0 && now() < until()) {
		const viewer = new Viewer();
		record.tries++;
		counts.asked++;
		const sent = options.bug === 'new-key' ? `${key}-${record.tries}` : key;
		if (!stream && roll() < 0.6)
			watchers.push(findRunning(session).then((turn) => turn && watchTurn(new Viewer(), turn)));
		const end = await watch(viewer, 'POST', `/v1/sessions/${session}/turns`, {
			body: { message: say, stream }, headers: { 'Idempotency-Key': sent }, dropAfter: roll() < 0.35 ? roll() * 1300 : null,
			onEvent: ({ event }) => {
				if (event !== 'turn' || roll() < 0.4)
					return;
				watchTurn(new Viewer(), viewer.turn);
			},
		});
		record.seen.push(`${Math.round(now() - began)} ${end.how} ${end.json?.code ?? end.why ?? ''} ${viewer.turn ?? ''}`);
		if (stream && viewer.turn)
			record.viewers.push(viewer);
		if (end.how === 'done') {
			wanted--;
			record.replies.push(end.json);
			continue;
		}
		if (end.how === 'dropped')
			counts.drops++;
		else if (end.how === 'cut')
			counts.cuts++;
		else
			counts.refused[end.json?.code ?? end.status] = (counts.refused[end.json?.code ?? end.status] ?? 0) + 1;
		// Whoever saw the turn begin may go on where it was, on whichever worker.
		if (viewer.turn && !viewer.error && roll() < 0.6)
			watchers.push(follow(viewer, session, viewer.turn));
		await sleep(roll() * 250);
	}
	return record;
}

const workers = () => {
	try {
		return execFileSync('pgrep', ['-P', MASTER]).toString().trim().split('\n').map(Number);
	} catch {
		return [];
	}
};

// Kills processes of the master one after the other while turns go on; each with when the signal was sent and when the process was gone.
async function killer(kills, isOver) {
	while (!isOver() && kills.length < options.kills) {
		await sleep(150 + roll() * 500);
		const pids = workers();
		const pid = pids[Math.floor(roll() * pids.length)];
		if (!pid || isOver())
			continue;
		const sent = now();
		try {
			process.kill(pid, 'SIGKILL');
		} catch {
			continue;
		}
		while (existsSync(`/proc/${pid}`) && now() < sent + 5000)
			await sleep(1);
		kills.push({ pid, sent, gone: now() });
	}
}

async function messagesOf(session) {
	const list = [];
	for (let after = 0; after !== null;) {
		const page = await request('GET', `/v1/sessions/${session}/messages?limit=100&after=${after}`, { key: SK });
		if (page.status !== 200)
			throw new Error(`messages: ${page.status} ${page.text}`);
		list.push(...page.json.data);
		after = page.json.has_more ? page.json.next : null;
	}
	return list;
}

const stub = async (path, method = 'GET') => (await request(method, path, { url: STUB })).json;

async function chaos() {
	const sessions = [], records = [], kills = [], watchers = [];
	const run = randomUUID().slice(0, 8);
	let left = options.turns, isOver = false;
	await stub('/reset', 'POST');
	for (let i = 0; i < options.clients; i++)
		sessions.push((await request('POST', '/v1/sessions', { key: SK, body: { agent: 'marked' } })).json.id);
	let quiet = Infinity; // when nothing is killed any more
	const killing = killer(kills, () => isOver).then(() => {
		quiet = now();
	});
	const until = () => quiet + options.patience;
	await Promise.all(sessions.map(async (session, c) => {
		for (let n = 0; left > 0; n++) {
			left--;
			records.push(await ask(session, `${run}-${c}-${n}`, `${run}: client ${c} asks ${n}`, watchers, until));
		}
	}));
	isOver = true;
	await killing;
	for (let n = 0; n < watchers.length; n++) // they beget others
		await watchers[n];
	await sleep(lease + 500);

	const stuck = [], stored = new Map();
	await Promise.all(sessions.map(async (session) => {
		stored.set(session, await messagesOf(session));
		const running = await request('GET', `/v1/sessions/${session}/turns?status=running`, { key: SK });
		if (running.status !== 200 || running.json.data.length > 0)
			stuck.push(`${session}: ${running.text.slice(0, 200)}`);
		const free = await request('POST', `/v1/sessions/${session}/turns`, { key: SK, body: { message: 'is it free?', stream: false } });
		if (free.status !== 200)
			stuck.push(`${session}: ${free.status} ${free.text.slice(0, 200)}`);
	}));
	const { calls, running } = await stub('/calls');
	for (const record of records) // what ran when somebody looked may have been the next one
		record.viewers = record.viewers.filter((v) => !v.of || v.of === record.say);
	const { faults, excused } = judge({ records, stored, stuck, calls, kills, tokens });
	const answered = records.filter((r) => r.replies.length > 0).length;
	const watched = records.flatMap((r) => r.viewers);
	console.log(`# ${name}: seed ${options.seed}, ${records.length} turns, ${counts.asked} requests, ${counts.drops} dropped, ${counts.cuts} cut, ` +
		`refused ${JSON.stringify(counts.refused)}, ${watched.length} viewers, ${watched.filter((v) => v.done).length} to the end, ` +
		`${counts.resumed} connections of followers, ${kills.length} kills, ${calls.length} provider calls, ` +
		`${calls.filter((c) => c.end === 'completed').length - options.clients} completed`);
	console.log(`# ${name}: second completed calls excused by a kill between the provider's last byte and the commit: ${excused.length}` +
		excused.map((e) => `\n#   ${e}`).join(''));
	check(`${name}: there was something to survive`, kills.length >= Math.min(options.kills, 5) && counts.drops > 0 && counts.cuts > 0, { kills: kills.length, ...counts });
	check(`${name}: every key is answered in the end`, answered === options.turns,
		records.filter((r) => r.replies.length === 0).map((r) => `${r.key} of ${r.session}: ${r.seen.slice(-12).join(', ')}`).join('\n'));
	check(`${name}: viewers saw turns to their end`, watched.filter((v) => v.done).length > options.turns / 2, watched.length);
	check(`${name}: no call of the provider goes on`, running === 0, running);
	const kinds = [...new Set(faults.map((f) => f.kind))];
	for (const kind of ['answers', 'calls', 'viewers', 'leases'])
		check(`${name}: ${titles[kind]}`, !kinds.includes(kind), faults.filter((f) => f.kind === kind).slice(0, 6).map((f) => f.what).join('; '));
}

const titles = {
	answers: 'exactly one stored answer for each key, whole',
	calls: 'one call of the provider that completed for each key',
	viewers: "every viewer's text is the stored text",
	leases: 'no lease is stuck',
};

// ---- stopping ----

const calls = async (say) => (await stub('/calls')).calls.filter((c) => c.text === say);

// Begins a turn and waits for its first words; `end` is a promise of how its stream ends.
async function begin(body, agent = 'long') {
	const { id: session } = (await request('POST', '/v1/sessions', { key: SK, body: { agent } })).json;
	const viewer = new Viewer(), hand = new AbortController(), say = `${name} ${session}`;
	let end;
	const spoken = new Promise((resolve) => {
		end = watch(viewer, 'POST', `/v1/sessions/${session}/turns`, { body: { message: say, stream: true, ...body }, drop: hand.signal,
			onEvent: () => viewer.text && resolve() });
	});
	await Promise.race([spoken, end]);
	return { session, viewer, say, end, hangUp: () => hand.abort() };
}

// Waits until the provider's call of these words has ended; undefined after `ms`.
async function endOf(say, ms) {
	for (const until = now() + ms; now() < until; await sleep(20)) {
		const call = (await calls(say))[0];
		if (call && call.end !== 'running')
			return call;
	}
	return undefined;
}

// A turn once it runs no more.
async function turnOf(session, turn, ms = 3000) {
	for (const until = now() + ms; ; await sleep(30)) {
		const rs = await request('GET', `/v1/sessions/${session}/turns/${turn}`, { key: SK });
		if (rs.json?.status !== 'running' || now() > until)
			return rs.json;
	}
}

const say = (what, ...more) => check(`${name}: ${what}`, ...more);

async function cancelled() {
	const { session, viewer, say: words, end } = await begin();
	const at = now();
	const rs = await request('POST', `/v1/sessions/${session}/turns/${viewer.turn}/cancel`, { key: SK, body: {} });
	const call = await endOf(words, 3000), last = await end;
	const stored = (await messagesOf(session)).at(-1);
	return { took: call?.end === 'aborted' ? call.ended_ms - at : Infinity, rs, call, viewer, last, stored };
}

async function hungUp(on_disconnect) {
	const turn = await begin({ on_disconnect }, on_disconnect === 'cancel' ? 'long' : 'marked');
	const at = now();
	turn.hangUp();
	const call = await endOf(turn.say, 6000);
	return { took: call?.end === 'aborted' ? call.ended_ms - at : Infinity, call, turn: await turnOf(turn.session, turn.viewer.turn), say: turn.say };
}

async function stop() {
	const runs = await Promise.all(Array.from({ length: 6 }, cancelled));
	const slowest = Math.max(...runs.map((r) => r.took));
	say(`a cancel from any worker reaches the provider within a second (${Math.round(slowest)} ms)`, slowest <= 1000, runs.map((r) => [r.took, r.rs.status, r.call]));
	say('it is answered with the cancelled turn', runs.every((r) => r.rs.status === 200 && r.rs.json?.status === 'cancelled'), runs.map((r) => r.rs.text));
	say('the stream ends with what had come', runs.every((r) => r.last.how === 'done' && r.last.json.finish === 'cancelled' && r.last.json.success === false &&
		r.last.json.result === r.viewer.text && r.viewer.text.length > 0), runs.map((r) => [r.last, r.viewer.text]));
	say('which is stored as incomplete', runs.every((r) => r.stored.role === 'assistant' && r.stored.incomplete === true && textOf(r.stored) === r.viewer.text),
		runs.map((r) => [r.stored, r.viewer.text]));

	const closed = await Promise.all(Array.from({ length: 6 }, () => hungUp('cancel')));
	const late = Math.max(...closed.map((r) => r.took));
	say(`a closed tab with on_disconnect=cancel reaches the provider within a second (${Math.round(late)} ms)`, late <= 1000, closed.map((r) => [r.took, r.call]));
	say('its turn is cancelled', closed.every((r) => r.turn?.status === 'cancelled'), closed.map((r) => r.turn));
	const open = await Promise.all(Array.from({ length: 4 }, () => hungUp('continue')));
	say('without it the turn goes on to its end', open.every((r) => r.call?.end === 'completed' && r.turn?.status === 'done' &&
		r.turn.result === callText(r.say, r.call.number, tokens)), open);
}

if (mode === '--self-test')
	judgeSelf(check);
else
	await step(`${name}: runs`, mode === 'stop' ? stop : chaos);
finish();
