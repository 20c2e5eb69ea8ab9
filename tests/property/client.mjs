// SPDX-License-Identifier: MIT
// client: asks a running parley thousands of things that its document allows or forbids, and judges every answer by the document.
//   node client.mjs NAME [--requests N] [--seed S] [--tamper KIND]     environment: URL, SK, PK, OTHER_SK
// --tamper changes answers on their way, so that it can be seen that the judge notices.
import fc from 'fast-check';
import { check, finish, request as ask } from '../e2e/api.mjs';
import { Document } from './document.mjs';
import { requests } from './generate.mjs';
import { judge } from './judge.mjs';
import { build, HOME_MARK, OTHER_MARK, World } from './world.mjs';

const words = process.argv.slice(2);
const option = (name, fallback) => (words.includes(name) ? words[words.indexOf(name) + 1] : fallback);
const name = words[0];
const wanted = Number(option('--requests', 1000));
const firstSeed = Number(option('--seed', 20260102));
const tamper = option('--tamper', '');
const { SK, PK, OTHER_SK } = process.env;
const SHRINK_RUNS = 150;
// What must be said of each kind of tampering.
const TAMPERED = {
	status: /status 418 is not documented/, failure: /failed on its side/, member: /additional properties/, missing: /required property 'status'/,
	type: /content type text\/html/, foreign: /another site's/, leak: /tells of the inside/,
};

const counts = { sent: 0, byClass: {}, byOperation: new Map() };

// What a tampering server would do to the answers of one operation.
function tampered(o, answer) {
	if (!tamper || o.name !== 'GET /v1/sessions/{s}' || answer.status !== (tamper === 'leak' ? 404 : 200))
		return answer;
	const json = structuredClone(answer.json), headers = { ...answer.headers };
	let status = answer.status;
	if (tamper === 'status')
		status = 418;
	else if (tamper === 'failure')
		status = 500;
	else if (tamper === 'member')
		json.internal = 1;
	else if (tamper === 'missing')
		delete json.status;
	else if (tamper === 'type')
		headers['content-type'] = 'text/html';
	else if (tamper === 'foreign')
		json.title = OTHER_MARK;
	else if (tamper === 'leak')
		json.detail = 'SELECT id FROM sessions';
	const text = JSON.stringify(json);
	return { status, headers, json, text, bytes: Buffer.from(text) };
}

async function send(doc, world, o, generated) {
	const sent = build(world, o, generated);
	let answer;
	try {
		answer = await ask(sent.method, sent.path, { headers: sent.headers, body: sent.data });
	} catch (error) {
		return { sent, answer: { status: 0, text: String(error), headers: {} }, verdict: `no answer: ${error.message}` };
	}
	answer = tampered(o, answer);
	counts.sent++;
	const kind = `${Math.floor(answer.status / 100)}xx`;
	counts.byClass[kind] = (counts.byClass[kind] ?? 0) + 1;
	const of = counts.byOperation.get(o.name) ?? {};
	of[answer.status] = (of[answer.status] ?? 0) + 1;
	counts.byOperation.set(o.name, of);
	if (answer.status < 300 && answer.json && !['other', 'token-other'].includes(sent.who))
		world.harvest(answer.json);
	if (answer.status === 200 && /ndjson/.test(answer.headers['content-type']) && answer.text.length < 300000 && sent.method === 'GET')
		world.keep('export', answer.text);
	if (answer.headers.etag)
		world.etags.push(answer.headers.etag);
	return { sent, answer, verdict: judge(doc, o, sent, answer) };
}

function show({ sent, answer, verdict }) {
	const data = sent.data ? sent.data.toString().slice(0, 1500) : '';
	const headers = Object.entries(sent.headers).map(([k, v]) => `${k}: ${k === 'Authorization' ? `${v.slice(0, 12)}… (${sent.who})` : v}`).join('\n    ');
	return `${verdict}\n  asked: ${sent.method} ${sent.path.slice(0, 600)}\n    ${headers}\n    ${data}\n  answered: ${answer.status}\n    ${answer.text.slice(0, 1500)}`;
}

// The agent that all sessions talk to is there and answers, whatever an earlier run did to it.
async function restore() {
	const body = { name: 'echo', provider: 'echo', model: '' };
	const there = await ask('PATCH', '/v1/agents/echo', { key: SK, body });
	if (there.status === 404)
		await ask('POST', '/v1/agents', { key: SK, body });
}

const plain = (o, more) => ({ name: o.name, path: [], query: {}, body: undefined, who: 'sk', key: null, isGuarded: false, spoilers: [], ...more });

// A session with some history to begin with.
async function begin(doc, world) {
	const of = (n) => doc.operations.find((o) => o.name === n);
	const steps = [];
	await restore();
	steps.push(await send(doc, world, of('POST /v1/sessions'), plain(of('POST /v1/sessions'), { body: { agent: 'echo', title: HOME_MARK, user: 'anna', tags: ['bread'] } })));
	const id = steps[0].answer.json?.id ?? 'ses_none';
	const append = of('POST /v1/sessions/{s}/messages');
	const messages = ['one', 'two', 'three'].map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content }));
	steps.push(await send(doc, world, append, plain(append, { path: [id], body: { messages } })));
	const turn = of('POST /v1/sessions/{s}/turns');
	steps.push(await send(doc, world, turn, plain(turn, { path: [id], body: { message: 'four' } })));
	return steps;
}

class Refuted extends Error {}

async function runAll(doc, foreign, list) {
	const world = new World({ keys: { sk: SK, pk: PK, other: OTHER_SK }, foreign });
	const trace = [];
	const see = (step) => {
		trace.push(`${step.sent.method} ${step.sent.path.slice(0, 120)} (${step.sent.who}) -> ${step.answer.status}`);
		if (step.verdict)
			throw Object.assign(new Refuted(show(step)), { trace });
	};
	(await begin(doc, world)).forEach(see);
	for (const generated of list)
		see(await send(doc, world, doc.operations.find((o) => o.name === generated.name), generated));
}

// Runs until enough was asked; the first answer that is wrong is made as small as it gets. Returns null, or what was found.
async function search(doc, foreign) {
	let left = SHRINK_RUNS, smallest = null;
	for (let seed = firstSeed; counts.sent < wanted; seed++) {
		const property = fc.asyncProperty(requests(doc), async (list) => {
			if (!smallest && counts.sent >= wanted || smallest && left-- <= 0)
				return;
			try {
				await runAll(doc, foreign, list);
			} catch (error) {
				if (error instanceof Refuted)
					smallest = { error, seed };
				throw error;
			}
		});
		const result = await fc.check(property, { seed, numRuns: 20 });
		if (result.failed)
			return { seed, path: result.counterexamplePath, error: smallest?.error ?? result.errorInstance, list: result.counterexample?.[0] ?? [] };
	}
	return null;
}

// What belongs to another site: its ids, and a token, for those who should not reach it.
async function makeForeign() {
	const body = { agent: 'echo', id: 'foreign-own-id', title: OTHER_MARK, metadata: { mark: OTHER_MARK }, if_exists: 'return' };
	const session = (await ask('POST', '/v1/sessions', { key: OTHER_SK, body })).json;
	const message = (await ask('POST', `/v1/sessions/${session.id}/messages`, { key: OTHER_SK, body: { role: 'user', content: OTHER_MARK } })).json;
	const agent = (await ask('GET', '/v1/agents/echo', { key: OTHER_SK })).json;
	return { token: session.token, ids: [session.id, session.name, session.conversation_id, message.id, agent.id] };
}

function report(found) {
	console.log(`# seed ${found.seed}, path ${found.path}; to see it again: --seed ${found.seed}`);
	console.log(`# ${(found.error.trace ?? []).join('\n# ')}`);
	console.log(`# ${String(found.error.message ?? found.error).replaceAll('\n', '\n# ')}`);
	console.log(`# the smallest list of requests: ${fc.stringify(found.list).slice(0, 3000).replaceAll('\n', '\n# ')}`);
}

const published = await ask('GET', '/v1/openapi.json');
const doc = new Document(published.json);
const say = (what, ...rest) => check(`${name}: ${what}`, ...rest);
const began = Date.now();

if (!tamper) {
	say('the document is an OpenAPI 3.1 document', doc.flaws().length === 0, doc.flaws().slice(0, 10));
	say('its examples fit the schemas beside them', doc.badExamples().length === 0, doc.badExamples().slice(0, 10));
	say('every parameter, body and answer has an example', doc.withoutExamples().length === 0, doc.withoutExamples().slice(0, 10));
}
const found = await search(doc, await makeForeign());
if (tamper) {
	say(`the judge notices when answers are tampered with (${tamper})`, found?.error instanceof Refuted && TAMPERED[tamper].test(found.error.message),
		found?.error.message);
} else {
	say(`${counts.sent} requests from seed ${firstSeed} on have the answers that the document says`, found === null);
	if (found)
		report(found);
	const never = doc.operations.filter((o) => !Object.keys(counts.byOperation.get(o.name) ?? {}).some((s) => s < 300)).map((o) => o.name);
	if (wanted >= 10000)
		say('every operation succeeded at least once', found !== null || never.length === 0, never);
	else if (never.length)
		console.log(`# never succeeded: ${never.join(', ')}`);
	console.log(`# ${name}: seed ${firstSeed}, ${counts.sent} requests in ${Math.round((Date.now() - began) / 100) / 10} s: ${JSON.stringify(counts.byClass)}`);
	if (words.includes('--verbose'))
		for (const [o, of] of counts.byOperation)
			console.log(`# ${o}: ${JSON.stringify(of)}`);
}
finish();
