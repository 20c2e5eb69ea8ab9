// SPDX-License-Identifier: MIT
// lifecycle: writers, a deleter and readers on the same sessions while a sweeper ends and removes idle ones. Every call is noted with the time
// it was sent and answered; the judge then says what no order of these calls explains.
//
//   node lifecycle.mjs --seconds N     against $URL with $SK; sessions live TTL ms idle and KEEP ms ended (both in the environment)
//   node lifecycle.mjs --self-test     the judge judged
import { check, finish, request, sleep } from './api.mjs';

const SESSIONS = 12; // of which some are used for a while, so that the others fall idle
const IN_USE = 4;
const SLACK = 1500; // what a sweep may come early or late, and a purge may take

// What happened. Times are ms; a call took place somewhere between `from` and `to`.
//   said:    {session, conversation, seq, text, from, to}         acknowledged appends
//   tried:   text -> session                                      all that were sent
//   reads:   {session, conversation, messages: [{seq, text}], from, to}
//   removed: {session, conversation?, from, to}                   acknowledged deletions of a session, clearings, deletions of a conversation
//   gone:    {session, from, to}                                  404 of a session
//   clones:  {session, of, messages, from, to}                    the first reading of a clone
export function judge({ said, tried, reads, removed, gone, clones = [] }, { ttl, keep }) {
	const faults = [];
	const lines = new Map();
	const texts = new Map();
	const cloned = new Set(clones.map((c) => c.session));
	for (const s of said) {
		if (!lines.has(s.conversation))
			lines.set(s.conversation, []);
		const line = lines.get(s.conversation);
		if (line[s.seq])
			faults.push(`${s.conversation}: seq ${s.seq} was given to ${line[s.seq].text} and to ${s.text}`);
		line[s.seq] = s;
		texts.set(s.text, s);
	}
	// Removals that a read may have met: what it shows may be on its way out.
	const meets = (read) => removed.some((r) => r.session === read.session && r.from < read.to && r.to + SLACK > read.from) ||
		gone.some((g) => g.session === read.session && g.to > read.from && g.from < read.to + SLACK);
	for (const read of reads) {
		const seen = new Set();
		read.messages.forEach((m, i) => {
			if (m.seq !== i + 1)
				faults.push(`${read.session}: seq ${m.seq} where ${i + 1} belongs`);
			if (seen.has(m.text))
				faults.push(`${read.session}: ${m.text} is there twice`);
			seen.add(m.text);
			if (!tried.has(m.text))
				faults.push(`${read.session}: ${m.text} was never sent`);
			else if (tried.get(m.text) !== read.session && !cloned.has(read.session))
				faults.push(`${read.session}: ${m.text} was sent to ${tried.get(m.text)}`);
			const s = texts.get(m.text);
			if (s && s.seq !== m.seq)
				faults.push(`${read.session}: ${m.text} was acknowledged as ${s.seq} and is ${m.seq}`);
			if (!s || cloned.has(read.session))
				return;
			for (const r of removed)
				if (r.session === s.session && (!r.conversation || r.conversation === s.conversation) && s.to < r.from && r.to < read.from)
					faults.push(`${read.session}: ${m.text} came back after it was removed`);
		});
		if (meets(read))
			continue;
		for (const s of lines.get(read.conversation) ?? [])
			if (s && s.to < read.from && read.messages[s.seq - 1]?.text !== s.text)
				faults.push(`${read.session}: ${s.text} was acknowledged as ${s.seq} and is lost`);
	}
	// An acknowledged message keeps its session for a while.
	for (const g of gone) {
		const last = said.filter((s) => s.session === g.session && s.to < g.from).at(-1);
		if (last && g.to < last.from + ttl + keep - SLACK && !removed.some((r) => r.session === g.session && r.to > last.from && r.from < g.to))
			faults.push(`${g.session}: it is gone ${Math.round(g.from - last.to)} ms after ${last.text}`);
	}
	// A clone is what its original was, for ever.
	for (const g of gone)
		if (cloned.has(g.session))
			faults.push(`${g.session}: a clone of ${clones.find((c) => c.session === g.session).messages.length} messages cannot be read`);
	for (const clone of clones)
		for (const read of reads.filter((r) => r.session === clone.session))
			if (JSON.stringify(read.messages) !== JSON.stringify(clone.messages))
				faults.push(`${clone.session}: a clone of ${clone.messages.length} messages shows ${read.messages.length} others or fewer`);
	return faults;
}

function selfTest() {
	const m = (n) => ({ seq: n, text: `t${n}` });
	const history = () => ({
		said: [1, 2].map((n) => ({ session: 's', conversation: 'c', seq: n, text: `t${n}`, from: n * 10, to: n * 10 + 5 })),
		tried: new Map([1, 2, 3].map((n) => [`t${n}`, 's'])), removed: [], gone: [], clones: [],
		reads: [{ session: 's', conversation: 'c', messages: [m(1), m(2)], from: 30, to: 40 }],
	});
	const limits = { ttl: 4000, keep: 4000 };
	const faults = (change) => {
		const h = history();
		change(h);
		return judge(h, limits);
	};
	const names = (what, change, word) => check(what, faults(change).some((f) => f.includes(word)), faults(change));
	check('a good history has no fault', faults(() => {}).length === 0, faults(() => {}));
	names('a lost message is found', (h) => h.reads[0].messages.pop(), 'lost');
	names('a gap is found', (h) => h.reads[0].messages.shift(), 'belongs');
	names('a doubled message is found', (h) => h.reads[0].messages.push({ seq: 3, text: 't1' }), 'twice');
	names('a message nobody sent is found', (h) => h.reads[0].messages.push({ seq: 3, text: 'x' }), 'never sent');
	names('a foreign message is found', (h) => { h.tried.set('t3', 'other'); h.reads[0].messages.push(m(3)); }, 'was sent to');
	names('a seq given twice is found', (h) => h.said.push({ ...h.said[1], text: 't3' }), 'was given to');
	names('a message that came back is found', (h) => h.removed.push({ session: 's', from: 26, to: 28 }), 'came back');
	names('a session that went too early is found', (h) => h.gone.push({ session: 's', from: 50, to: 60 }), 'it is gone');
	names('a clone that lost something is found', (h) => h.clones.push({ session: 's', of: 'o', messages: [m(1), m(2), m(3)], from: 1, to: 2 }), 'a clone of');
	check('a deletion explains an absence', faults((h) => { h.removed.push({ session: 's', from: 26, to: 35 }); h.reads[0].messages = []; }).length === 0);
	check('an idle session may go', faults((h) => h.gone.push({ session: 's', from: 9000, to: 9010 })).length === 0);
	finish();
}

// The first fault of each kind: kinds differ in words, not in names and numbers.
function oneOfEach(faults) {
	return [...new Map([...faults].reverse().map((f) => [f.replace(/\S*\d\S*/g, '#'), f])).values()].reverse();
}

async function run(seconds) {
	const limits = { ttl: Number(process.env.TTL), keep: Number(process.env.KEEP) };
	const key = process.env.SK;
	const h = { said: [], tried: new Map(), reads: [], removed: [], gone: [], clones: [] };
	const counts = { errors: 0, ended: 0, created: 0, resumed: 0, branches: 0 };
	const end = performance.now() + seconds * 1000;
	const running = () => performance.now() < end;
	const pick = (list) => list[Math.floor(Math.random() * list.length)];
	let used = { first: 0, until: 0 };
	function name() {
		if (performance.now() > used.until)
			used = { first: Math.floor(Math.random() * SESSIONS), until: performance.now() + 2000 + Math.random() * 4000 };
		return `life-${(used.first + Math.floor(Math.random() * IN_USE)) % SESSIONS}`;
	}
	const bad = [];
	const mark = Date.now().toString(36);
	let serial = 0;

	// A call with its times; what must not happen is noted.
	async function call(method, path, body) {
		const from = performance.now();
		try {
			const rs = await request(method, path, { key, body });
			const to = performance.now();
			if (rs.status >= 500 && rs.status !== 503)
				bad.push(`${method} ${path}: ${rs.status} ${rs.text}`);
			return { ...rs, from, to };
		} catch (error) {
			counts.errors++;
			return { status: 0, from, to: performance.now(), text: String(error) };
		}
	}

	async function create(session) {
		const rs = await call('POST', '/v1/sessions', { agent: 'echo', id: session, if_exists: 'return', ttl: limits.ttl / 1000, tags: ['life'] });
		counts.created += rs.status === 201;
	}

	async function say(session, n) {
		const texts = Array.from({ length: n }, () => `${mark}-${serial++}`);
		texts.forEach((text) => h.tried.set(text, session));
		const rs = await call('POST', `/v1/sessions/${session}/messages`, { messages: texts.map((content) => ({ role: 'user', content })) });
		if (rs.status === 201)
			for (const m of rs.json.data)
				h.said.push({ session, conversation: m.conversation_id, seq: m.seq, text: m.content, from: rs.from, to: rs.to });
		else if (rs.status === 404) {
			h.gone.push({ session, from: rs.from, to: rs.to });
			await create(session);
		} else if (rs.status === 409) {
			counts.ended++;
			if (Math.random() < 0.3)
				counts.resumed += (await call('POST', `/v1/sessions/${session}/resume`)).status === 200;
		}
	}

	async function writer() {
		while (running()) {
			await say(name(), pick([1, 1, 1, 2, 5]));
			if (Math.random() < 0.02)
				await sleep(Math.random() * 300);
		}
	}

	async function readAll(session) {
		const first = await call('GET', `/v1/sessions/${session}?messages=100`);
		if (first.status === 404)
			h.gone.push({ session, from: first.from, to: first.to });
		if (first.status !== 200)
			return undefined;
		const { messages, conversation_id: conversation, message_count: n } = first.json;
		for (let before = messages[0]?.seq; before > 1;) {
			const page = await call('GET', `/v1/sessions/${session}/messages?conversation=${conversation}&order=desc&limit=100&before=${before}`);
			if (page.status !== 200)
				return undefined; /* it went meanwhile */
			messages.unshift(...page.json.data.reverse());
			before = messages[0].seq;
		}
		const read = { session, conversation, messages: messages.map((m) => ({ seq: m.seq, text: m.content })), from: first.from, to: performance.now(), n };
		h.reads.push(read);
		return read;
	}

	async function reader() {
		while (running()) {
			await readAll(name());
			await sleep(5);
		}
	}

	async function deleter() {
		while (running()) {
			await sleep(50 + Math.random() * 250);
			const session = name();
			const what = Math.random();
			if (what < 0.4) {
				const rs = await call('DELETE', `/v1/sessions/${session}`);
				if (rs.status === 204 || rs.status === 0)
					h.removed.push({ session, from: rs.from, to: rs.status ? rs.to : Infinity });
			} else if (what < 0.6) {
				await readAll(session);
				const rs = await call('DELETE', `/v1/sessions/${session}/messages`);
				if (rs.status === 204 || rs.status === 0)
					h.removed.push({ session, from: rs.from, to: rs.status ? rs.to : Infinity });
				await readAll(session);
			} else if (what < 0.8) {
				const rs = await call('POST', `/v1/sessions/${session}/conversations`, {});
				counts.branches += rs.status === 201;
				const all = await call('GET', `/v1/sessions/${session}/conversations?limit=100`);
				for (const c of all.json?.data?.filter((one) => !one.active) ?? []) {
					const gone = await call('DELETE', `/v1/sessions/${session}/conversations/${c.id}`);
					if (gone.status === 204)
						h.removed.push({ session, conversation: c.id, from: gone.from, to: gone.to });
				}
			} else {
				const clone = await call('POST', `/v1/sessions/${session}/clone`, { ttl: 3600 });
				if (clone.status !== 201)
					continue;
				const id = clone.json.id;
				const read = await readAll(id);
				if (!read)
					continue;
				h.clones.push({ session: id, of: session, messages: read.messages, from: clone.from, to: read.to });
				if (read.messages.length !== clone.json.message_count)
					bad.push(`${id}: a clone of ${clone.json.message_count} messages has ${read.messages.length}`);
			}
		}
	}

	for (let i = 0; i < SESSIONS; i++) { /* an earlier run may have left some */
		await call('DELETE', `/v1/sessions/life-${i}`);
		await create(`life-${i}`);
	}
	await Promise.all([writer(), writer(), reader(), reader(), deleter()]);
	// Clones are looked at again when their originals have long gone.
	for (const clone of h.clones) {
		await readAll(clone.session);
		await call('DELETE', `/v1/sessions/${clone.session}`);
	}
	const faults = judge(h, limits);
	console.log(`# ${h.said.length} messages acknowledged, ${h.reads.length} reads, ${h.removed.length} removals, ${h.gone.length} absences, ` +
		`${h.clones.length} clones, ${JSON.stringify(counts)}`);
	check(`nothing is lost, doubled or back again in ${h.said.length} messages`, faults.length === 0, oneOfEach(faults).join('; '));
	check('no call failed on the server\'s side', bad.length === 0, bad.slice(0, 3).join('; '));
	check('it was a test at all', h.said.length > 50 && h.reads.length > 20 && h.removed.length > 3 && h.clones.length > 0);
	finish();
}

if (process.argv.includes('--self-test'))
	selfTest();
else
	await run(Number(process.argv[process.argv.indexOf('--seconds') + 1]));
