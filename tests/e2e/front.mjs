// SPDX-License-Identifier: MIT
// front: what must hold behind every web server. node front.mjs NAME [whole]; environment URL, SK, PK. "whole": streams arrive in one piece (plain CGI
// behind a server that buffers).
import { randomUUID } from 'node:crypto';
import { check, finish, request, step } from './api.mjs';

const [, , name, flags = ''] = process.argv;
const { SK, PK } = process.env;
const say = (what, ...rest) => check(`${name}: ${what}`, ...rest);

await step(`${name}: health`, async () => {
	const health = await request('GET', '/healthz');
	say('/healthz answers', health.status === 200 && health.json?.status === 'ok', health);
	say('every answer has a request id', Boolean(health.headers['x-request-id']), health.headers);
	const ready = await request('GET', '/readyz');
	say('/readyz answers', ready.status === 200, ready);
});

let session;
for (const keep of [true, false]) {
	const how = keep ? 'kept connections' : 'closed connections';
	await step(`${name}: a session, ${how}`, async () => {
		const made = await request('POST', '/v1/sessions', { key: SK, body: { agent: 'echo', user: 'ada', tags: ['front'] }, keep });
		say(`a session is made, ${how}`, made.status === 201 && made.json?.id?.startsWith('ses_'), made);
		session = made.json.id;
		const text = `Grüße 世界 🌍 "quoted" \\ ${randomUUID()}`;
		const stored = await request('POST', `/v1/sessions/${session}/messages`, { key: SK, body: { role: 'user', content: text }, keep });
		say(`a message is appended, ${how}`, stored.status === 201 && stored.json?.seq === 1, stored);
		const read = await request('GET', `/v1/sessions/${session}?messages=20`, { key: SK, keep });
		say(`it is read back, ${how}`, read.status === 200 && read.json?.messages?.[0]?.content === text, read);
		const list = await request('GET', `/v1/sessions/${session}/messages?order=desc&limit=20`, { key: SK, keep });
		say(`it is listed, ${how}`, list.status === 200 && list.json?.data?.length === 1, list);
	});
}

await step(`${name}: credentials`, async () => {
	const none = await request('GET', `/v1/sessions/${session}`);
	say('no credential: 401', none.status === 401 && none.headers['content-type']?.startsWith('application/problem+json'), none);
	const other = SK.at(-2) === 'x' ? 'y' : 'x';
	const forged = await request('GET', `/v1/sessions/${session}`, { key: SK.slice(0, -2) + other + SK.at(-1) });
	say('a forged key: 401', forged.status === 401, forged);
	const origin = 'http://shop.example';
	const browser = await request('POST', '/v1/sessions', { key: PK, body: { agent: 'echo' }, headers: { Origin: origin } });
	say('a publishable key and its origin start a session', browser.status === 201, browser);
	say('the origin is echoed', browser.headers['access-control-allow-origin'] === origin, browser.headers);
	const foreign = await request('POST', '/v1/sessions', { key: PK, body: { agent: 'echo' }, headers: { Origin: 'http://evil.example' } });
	say('another origin: 403', foreign.status === 403, foreign);
	const preflight = await request('OPTIONS', '/v1/sessions', { headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' } });
	say('a preflight: 204', preflight.status === 204, preflight);
});

await step(`${name}: bad bodies`, async () => {
	const path = `/v1/sessions/${session}/messages`;
	const broken = await request('POST', path, { key: SK, body: '{"role":"user",' });
	say('malformed JSON: 400', broken.status === 400 && broken.json?.code === 'malformed_json', broken);
	const unknown = await request('POST', path, { key: SK, body: { role: 'user', content: 'x', colour: 'red' } });
	say('an unknown field: 400, by name', unknown.status === 400 && unknown.text.includes('colour'), unknown);
	const large = await request('POST', path, { key: SK, body: { role: 'user', content: 'x'.repeat(1200000) } });
	say('a body above max_body: 413', large.status === 413, large);
	const huge = await request('POST', path, { key: SK, body: Buffer.alloc(10000000, 0x20) }).catch((error) => ({ status: error.code }));
	// A web server may answer and close while the body is still on its way; mod_fcgid knows no 413.
	say('a body of 10 MB is refused', [413, 500, 'EPIPE', 'ECONNRESET'].includes(huge.status), huge);
	const count = await request('GET', `/v1/sessions/${session}`, { key: SK });
	say('nothing of these was stored', count.json?.message_count === 1, count);
});

async function streamed(agent) {
	const began = Date.now();
	const events = [];
	let rest = '';
	const rs = await request('POST', `/v1/chat/${agent}/message`, {
		key: SK, body: { message: 'one two three four five six', stream: true },
		onData: (piece) => {
			const blocks = (rest + piece).split('\n\n');
			rest = blocks.pop();
			for (const block of blocks) {
				const type = /^event: ?(.*)$/m.exec(block)?.[1];
				if (type)
					events.push({ type, at: Date.now() - began, data: /^data: ?(.*)$/m.exec(block)?.[1] });
			}
		},
	});
	return { rs, events };
}

await step(`${name}: streams`, async () => {
	const { rs, events } = await streamed('slow');
	const types = events.map((e) => e.type);
	say('a stream is text/event-stream', rs.headers['content-type']?.startsWith('text/event-stream'), { status: rs.status, ...rs.headers });
	say('it has turn, deltas, done', types[0] === 'turn' && types.includes('delta') && types.at(-1) === 'done', types);
	const text = events.filter((e) => e.type === 'delta').map((e) => JSON.parse(e.data).text).join('');
	say('the deltas are the answer', text.length > 0 && JSON.parse(events.at(-1)?.data ?? '{}').result === text, { text, events });
	if (!flags.includes('whole')) {
		const spread = (events.at(-1)?.at ?? 0) - (events[0]?.at ?? 0);
		say('the first event arrives long before the last', spread > 600, events.map((e) => `${e.type} ${e.at}`));
		const first = events.find((e) => e.type === 'delta')?.at ?? 0;
		say('deltas arrive one by one', (events.at(-1)?.at ?? 0) - first > 500, events.map((e) => `${e.type} ${e.at}`));
	}
	const plain = await request('POST', '/v1/chat/echo/message', { key: SK, body: { message: 'Good morning' } });
	say('an answer without a stream', plain.status === 200 && plain.json?.success === true && plain.json.result.length > 0, plain);
});

await step(`${name}: idempotency`, async () => {
	const headers = { 'Idempotency-Key': randomUUID() };
	const path = `/v1/sessions/${session}/messages`;
	const body = { role: 'user', content: 'once' };
	const first = await request('POST', path, { key: SK, body, headers });
	const second = await request('POST', path, { key: SK, body, headers });
	say('a repeated request is answered with the first answer', first.status === 201 && second.status === 201 && first.json.id === second.json.id &&
		second.headers['idempotent-replayed'] === 'true', second);
});
finish();
