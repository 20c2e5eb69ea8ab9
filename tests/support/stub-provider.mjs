// SPDX-License-Identifier: MIT
// stub-provider: a model's server for tests, on 127.0.0.1: chat completions, Anthropic's messages and Gemini's streams. The model's name selects how
// it behaves; see `behaviours`, `anthropicBehaviours` and `geminiBehaviours`.
// Usage: node stub-provider.mjs [--port 0] [--portfile FILE]. Prints its port. GET /stats, POST /reset.
import http from 'node:http';
import { writeFileSync, renameSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const options = { port: '0', portfile: '' };
for (let i = 2; i + 1 < process.argv.length; i += 2)
	options[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];

const fresh = () => ({ requests: 0, completed: 0, aborted: 0, aborts: [], last_request: null });
let stats = fresh();

// ---- what an answer is made of ----

const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18, prompt_tokens_details: { cached_tokens: 0 } };
const base = (model) => ({ id: 'chatcmpl-stub', object: 'chat.completion.chunk', created: 1767225600, model });
const chunk = (model, delta, finish = null, more = {}) =>
	JSON.stringify({ ...base(model), choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...more });
const event = (data, end = '\n') => `data: ${data}${end}${end}`;

function lastUserText(body) {
	const user = (Array.isArray(body.messages) ? body.messages : []).filter((m) => m.role === 'user').pop();
	if (!user)
		return '';
	if (typeof user.content === 'string')
		return user.content;
	return (user.content ?? []).filter((p) => p.type === 'text').map((p) => p.text).join('\n');
}

const answerText = (body) => `Hello from the stub. You said: ${lastUserText(body)}`;
const words = (text) => text.match(/\s*\S+|\s+$/g) ?? [];

// The events of a normal stream, one string each.
function eventsOf(body, { end = '\n', withUsage = true, usageNull = false, text = answerText(body) } = {}) {
	const more = usageNull ? { usage: null } : {};
	const list = [chunk(body.model, { role: 'assistant', content: '' }, null, more)];
	for (const word of words(text))
		list.push(chunk(body.model, { content: word }, null, more));
	list.push(chunk(body.model, {}, 'stop', more));
	if (withUsage)
		list.push(JSON.stringify({ ...base(body.model), choices: [], usage }));
	list.push('[DONE]');
	return list.map((data) => event(data, end));
}

const startStream = (res, headers = {}) => {
	res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', ...headers });
	res.socket.setNoDelay(true);
};

// Writes and waits until the kernel has it; false when the client went away.
const write = (res, data) =>
	new Promise((resolve) => (res.destroyed ? resolve(false) : res.write(data, (error) => resolve(!error && !res.destroyed))));

async function stream(res, list, pauseMs = 0) {
	startStream(res);
	for (const piece of list) {
		if (!(await write(res, piece)))
			return;
		if (pauseMs > 0)
			await sleep(pauseMs);
	}
	res.end();
}

async function inBytes(res, text, pauseMs = 0) {
	startStream(res);
	for (const byte of Buffer.from(text)) {
		if (!(await write(res, Buffer.from([byte]))))
			return;
		if (pauseMs > 0)
			await sleep(pauseMs);
		else
			await new Promise(setImmediate);
	}
	res.end();
}

function problem(res, status, message, headers = {}) {
	res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
	res.end(JSON.stringify({ error: { message, type: 'stub_error', param: null, code: `stub_${status}` } }));
}

function toolEvents(model) {
	const call = (fn, more = {}) => chunk(model, { tool_calls: [{ index: 0, ...more, function: fn }] });
	const second = chunk(model, { tool_calls: [{ index: 1, id: 'call_2', type: 'function', function: { name: 'get_time', arguments: '{}' } }] });
	return [
		chunk(model, { role: 'assistant', content: null }),
		call({ name: 'get_weather', arguments: '' }, { id: 'call_1', type: 'function' }),
		call({ arguments: '{"ci' }),
		second,
		call({ arguments: 'ty":"Boston"}' }),
		chunk(model, {}, 'tool_calls'),
		JSON.stringify({ ...base(model), choices: [], usage }),
		'[DONE]',
	].map((data) => event(data));
}

// ---- what it does, by model name ("name" or "name:argument") ----

const behaviours = {
	ok: (res, body) => stream(res, eventsOf(body)),
	bytes: (res, body) => inBytes(res, eventsOf(body).join('')),
	'split-utf8': (res, body) => inBytes(res, eventsOf(body, { text: 'Grüße, 世界 🌍!' }).join('')),
	crlf: (res, body) => inBytes(res, eventsOf(body, { end: '\r\n' }).join('')),
	cr: (res, body) => inBytes(res, eventsOf(body, { end: '\r' }).join('')),
	cut: (res, body) => stream(res, eventsOf(body).slice(0, 4)),
	reset: async (res, body) => {
		startStream(res);
		await write(res, eventsOf(body).slice(0, 4).join(''));
		await sleep(20);
		res.socket?.resetAndDestroy();
	},
	'reset-early': (res) => res.socket.resetAndDestroy(),
	'error-in-stream': (res, body) =>
		stream(res, [...eventsOf(body).slice(0, 3), event(JSON.stringify({ error: { message: 'The stub broke',
				type: 'server_error', code: null } }))]),
	'event-error': (res, body) => stream(res, [...eventsOf(body).slice(0, 3), 'event: error\ndata: {"message":"The stub broke"}\n\n']),
	'usage-null': (res, body) => stream(res, eventsOf(body, { usageNull: true })),
	'no-usage': (res, body) => stream(res, eventsOf(body, { withUsage: false })),
	tools: (res, body) => stream(res, toolEvents(body.model)),
	429: (res) => problem(res, 429, 'Slow down', { 'Retry-After': '7' }),
	500: (res) => problem(res, 500, 'The stub failed'),
	400: (res) => problem(res, 400, 'The stub refused'),
	401: (res, body, key) => problem(res, 401, `Incorrect API key provided: ${key}`),
	hang: () => {},
	'hang-mid': async (res, body) => {
		startStream(res);
		await write(res, eventsOf(body).slice(0, 4).join(''));
	},
	drip: (res, body) => inBytes(res, eventsOf(body).join(''), 1000),
	nonsense: (res) => stream(res, ['data: this is no JSON\n\n']),
	html: (res) => {
		res.writeHead(200, { 'Content-Type': 'text/html' });
		res.end('<!doctype html><title>Sign in</title><p>Please sign in.\n');
	},
	huge: async (res, body) => {
		const block = event(chunk(body.model, { content: 'x'.repeat(8000) }));
		startStream(res);
		while (await write(res, block))
			;
	},
	'no-stream': (res, body) => {
		res.writeHead(200, { 'Content-Type': 'application/json' });
		res.end(JSON.stringify({ ...base(body.model), object: 'chat.completion', usage,
			choices: [{ index: 0, message: { role: 'assistant', content: answerText(body), refusal: null },
					logprobs: null, finish_reason: 'stop' }] }));
	},
	'late-error-after-done': async (res, body) => {
		startStream(res);
		await write(res, eventsOf(body).join(''));
		await sleep(20);
		res.socket?.resetAndDestroy();
	},
	'open-after-done': async (res, body) => {
		startStream(res);
		await write(res, eventsOf(body).join(''));
	},
	slow: (res, body, key, ms) => stream(res, eventsOf(body), Number(ms)),
	tokens: (res, body, key, n) => stream(res, eventsOf(body, { text: Array.from({ length: Number(n) }, (_, i) => `t${i}`).join(' ') })),
};

// ---- the same in Anthropic's form ----

const named = (type, more = {}, end = '\n') => `event: ${type}${end}data: ${JSON.stringify({ type,
		...more })}  ${end}${end}`; // blanks as the service has them

function anthropicEvents(body, { end = '\n', text = answerText(body), blocks = null, reason = 'end_turn' } = {}) {
	const message = { id: 'msg_stub', type: 'message', role: 'assistant', model: body.model, content: [], stop_reason: null, stop_sequence: null,
		usage: { input_tokens: 4, cache_creation_input_tokens: 5, cache_read_input_tokens: 2, output_tokens: 1 } };
	const list = [named('message_start', { message }, end), named('ping', {}, end)];
	const plain = [{ start: { type: 'text', text: '' }, deltas: words(text).map((word) => ({ type: 'text_delta', text: word })) }];
	(blocks ?? plain).forEach(({ start, deltas, unfinished = false }, index) => {
		list.push(named('content_block_start', { index, content_block: start }, end));
		for (const delta of deltas)
			list.push(named('content_block_delta', { index, delta }, end));
		if (!unfinished)
			list.push(named('content_block_stop', { index }, end));
	});
	list.push(named('message_delta', { delta: { stop_reason: reason, stop_sequence: null }, usage: { output_tokens: 7 } }, end));
	list.push(named('message_stop', {}, end));
	return list;
}

const inputOf = (...pieces) => pieces.map((partial_json) => ({ type: 'input_json_delta', partial_json }));
const anthropicTools = [
	{ start: { type: 'text', text: '' }, deltas: [{ type: 'text_delta', text: 'Let me see.' }] },
	{ start: { type: 'tool_use', id: 'call_1', name: 'get_weather', input: {} }, deltas: inputOf('', '{"ci', 'ty":"Boston"}') },
	{ start: { type: 'tool_use', id: 'call_2', name: 'get_time', input: {} }, deltas: [] },
];
const anthropicThoughts = [
	{ start: { type: 'thinking', thinking: '', signature: '' },
		deltas: [{ type: 'thinking_delta', thinking: 'Hm.' }, { type: 'signature_delta', signature: 'c2lnbmVk' }] },
	{ start: { type: 'redacted_thinking', data: 'aGlkZGVu' }, deltas: [] },
	{ start: { type: 'text', text: '' }, deltas: [{ type: 'text_delta', text: 'Thought over.' }] },
];

function anthropicProblem(res, status, type, message, headers = {}) {
	res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
	res.end(JSON.stringify({ type: 'error', error: { type, message }, request_id: null }));
}

const anthropicBehaviours = {
	ok: (res, body) => stream(res, anthropicEvents(body)),
	bytes: (res, body) => inBytes(res, anthropicEvents(body).join('')),
	'split-utf8': (res, body) => inBytes(res, anthropicEvents(body, { text: 'Grüße, 世界 🌍!' }).join('')),
	crlf: (res, body) => inBytes(res, anthropicEvents(body, { end: '\r\n' }).join('')),
	cr: (res, body) => inBytes(res, anthropicEvents(body, { end: '\r' }).join('')),
	cut: (res, body) => stream(res, anthropicEvents(body).slice(0, 5)),
	'error-in-stream': (res, body) =>
		stream(res, [...anthropicEvents(body).slice(0, 5), named('error', { error: { type: 'overloaded_error', message: 'Overloaded' } })]),
	tools: (res, body) => stream(res, anthropicEvents(body, { blocks: anthropicTools, reason: 'tool_use' })),
	'cut-tool': (res, body) => stream(res, anthropicEvents(body, { reason: 'max_tokens',
		blocks: [anthropicTools[0], { ...anthropicTools[1], deltas: inputOf('{"city":"Bos'), unfinished: true }] })),
	thoughts: (res, body) => stream(res, anthropicEvents(body, { blocks: anthropicThoughts })),
	unknown: (res, body) => stream(res, anthropicEvents(body).flatMap((e) => [named('new_event', { index: 0 }), e])),
	429: (res) => anthropicProblem(res, 429, 'rate_limit_error', 'Slow down', { 'Retry-After': '7' }),
	529: (res) => anthropicProblem(res, 529, 'overloaded_error', 'Overloaded'),
	400: (res) => anthropicProblem(res, 400, 'invalid_request_error', 'The stub refused'),
	401: (res, body, key) => anthropicProblem(res, 401, 'authentication_error', `invalid x-api-key: ${key}`),
	slow: (res, body, key, ms) => stream(res, anthropicEvents(body), Number(ms)),
};

// ---- and in Gemini's ----

const geminiChunk = (model, parts, { reason = null, last = false } = {}) => JSON.stringify({
	candidates: [{ content: { role: 'model', parts }, ...(reason ? { finishReason: reason } : {}), index: 0 }],
	usageMetadata: { promptTokenCount: 11, ...(last ? { candidatesTokenCount: 4, thoughtsTokenCount: 3,
			totalTokenCount: 18 } : { totalTokenCount: 11 }) },
	modelVersion: model, responseId: 'stub' });

function geminiEvents(body, { end = '\n', text = null, parts = null, reason = 'STOP' } = {}) {
	const user = (body.contents ?? []).filter((c) => c.role === 'user').pop();
	const said = (user?.parts ?? []).map((p) => p.text ?? '').join('\n');
	const list = parts ?? words(text ?? `Hello from the stub. You said: ${said}`).map((word) => ({ text: word }));
	return [...list.map((part) => geminiChunk(body.model, [part])), geminiChunk(body.model, [{ text: '' }], { reason, last: true })]
		.map((data) => event(data, end));
}

const geminiTools = [
	{ functionCall: { name: 'get_weather', args: { city: 'Boston' } }, thoughtSignature: 'c2lnbmVk' },
	{ functionCall: { id: 'call_2', name: 'get_time', args: {} } },
];
const geminiError = (code, message, status) => JSON.stringify({ error: { code, message, status } }, null, 2);

function geminiProblem(res, code, message, { list = false, headers = {} } = {}) {
	res.writeHead(code, { 'Content-Type': 'application/json; charset=UTF-8', ...headers });
	res.end(list ? `[${geminiError(code, message, 'STUB')}]` : geminiError(code, message, 'STUB'));
}

const geminiBehaviours = {
	ok: (res, body) => stream(res, geminiEvents(body)),
	bytes: (res, body) => inBytes(res, geminiEvents(body).join('')),
	'split-utf8': (res, body) => inBytes(res, geminiEvents(body, { text: 'Grüße, 世界 🌍!' }).join('')),
	crlf: (res, body) => inBytes(res, geminiEvents(body, { end: '\r\n' }).join('')),
	cr: (res, body) => inBytes(res, geminiEvents(body, { end: '\r' }).join('')),
	cut: (res, body) => stream(res, geminiEvents(body).slice(0, 3)),
	'error-in-stream': (res, body) => stream(res, [...geminiEvents(body).slice(0, 3), geminiError(503, 'Overloaded', 'UNAVAILABLE')]),
	blocked: (res, body) => stream(res, [event(JSON.stringify({ promptFeedback: { blockReason: 'SAFETY' },
			usageMetadata: { promptTokenCount: 11 }, modelVersion: body.model }))]),
	tools: (res, body) => stream(res, geminiEvents(body, { parts: geminiTools })),
	thoughts: (res, body) => stream(res, geminiEvents(body, { parts: [{ text: 'Hm.', thought: true }, { text: 'Thought over.' },
			{ text: '', thoughtSignature: 'c2lnbmVk' }] })),
	429: (res) => geminiProblem(res, 429, 'Slow down', { headers: { 'Retry-After': '7' } }),
	503: (res) => geminiProblem(res, 503, 'Overloaded', { list: true }),
	400: (res, body, key) => geminiProblem(res, 400, `API key not valid: ${key}`, { list: true }),
	slow: (res, body, key, ms) => stream(res, geminiEvents(body), Number(ms)),
};

// ---- the server ----

async function readBody(req) {
	const pieces = [];
	for await (const piece of req)
		pieces.push(piece);
	return Buffer.concat(pieces).toString();
}

function remember(req, body) {
	const { authorization, 'x-api-key': apiKey, 'x-goog-api-key': googKey, ...headers } = req.headers;
	stats.last_request = { ...body, headers, has_key: Boolean(authorization ?? apiKey ?? googKey) };
}

const keyOf = (headers) => (headers.authorization ?? headers['x-api-key'] ?? headers['x-goog-api-key'] ?? '').replace(/^Bearer /, '');

// `model`: as the path names it, where it does.
async function complete(req, res, table, model = null) {
	const mine = stats;
	mine.requests++;
	res.on('close', () => {
		if (res.writableFinished) {
			mine.completed++;
		} else {
			mine.aborted++;
			mine.aborts.push(new Date().toISOString());
			mine.aborts.splice(0, mine.aborts.length - 100);
		}
	});
	let body;
	try {
		body = JSON.parse(await readBody(req));
	} catch {
		return problem(res, 400, 'The body is not JSON');
	}
	if (model !== null)
		body.model = model;
	remember(req, body);
	const [name, argument] = String(body.model).split(':');
	const behave = Object.hasOwn(table, name) ? table[name] : null;
	if (!behave)
		return problem(res, 404, `There is no model named ${body.model}`);
	return behave(res, body, keyOf(req.headers), argument);
}

function sendJson(res, value) {
	res.writeHead(200, { 'Content-Type': 'application/json' });
	res.end(JSON.stringify(value));
}

const server = http.createServer((req, res) => {
	const path = req.url.split('?')[0];
	if (req.method === 'GET' && path === '/stats')
		return sendJson(res, stats);
	if (req.method === 'POST' && path === '/reset') {
		stats = fresh();
		return sendJson(res, stats);
	}
	if (req.method === 'POST' && path === '/v1/chat/completions')
		return complete(req, res, behaviours).catch(() => res.destroy());
	if (req.method === 'POST' && path === '/v1/messages' && req.headers['anthropic-version'])
		return complete(req, res, anthropicBehaviours).catch(() => res.destroy());
	const model = /^\/v1\/models\/([^/]+):streamGenerateContent$/.exec(path);
	if (req.method === 'POST' && model && req.url.endsWith('?alt=sse'))
		return complete(req, res, geminiBehaviours, decodeURIComponent(model[1])).catch(() => res.destroy());
	return problem(res, 404, 'Not found');
});

server.requestTimeout = 0;
server.listen(Number(options.port), '127.0.0.1', () => {
	const port = `${server.address().port}\n`;
	if (options.portfile) { // whoever waits for the file never sees half of it
		writeFileSync(`${options.portfile}.new`, port);
		renameSync(`${options.portfile}.new`, options.portfile);
	}
	process.stdout.write(port);
});
