// SPDX-License-Identifier: MIT
// stub-provider: a model's server for tests, on 127.0.0.1: chat completions, Anthropic's messages and Gemini's streams. The model's name selects how
// it behaves; see `behaviours`, `anthropicBehaviours`, `geminiBehaviours`, and `behavioursOf` for those that all three have.
// Usage: node stub-provider.mjs [--port 0] [--portfile FILE]. Prints its port. GET /stats, POST /reset.
//
// Stats: requests; completed: of these, whole answers written to their sockets; failed: answered with an error or broken off by the stub; aborted: left by
// their client; by_key: the same for each distinct text that a user said last; last_request.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { writeFileSync, renameSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const options = { port: '0', portfile: '' };
for (let i = 2; i + 1 < process.argv.length; i += 2)
	options[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];

const counts = () => ({ requests: 0, completed: 0, failed: 0, aborted: 0 });
const fresh = () => ({ ...counts(), aborts: [], by_key: Object.create(null), last_request: null });
let stats = fresh();
let tries = new Map(); // how often a model was asked with a text

// ---- what an answer is made of ----

const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18, prompt_tokens_details: { cached_tokens: 0 } };
const base = (model) => ({ id: 'chatcmpl-stub', object: 'chat.completion.chunk', created: 1767225600, model });
const chunk = (model, delta, finish = null, more = {}) =>
	JSON.stringify({ ...base(model), choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...more });
const event = (data, end = '\n') => `data: ${data}${end}${end}`;

const textOf = (content) => typeof content === 'string' ? content :
	(content ?? []).filter((p) => typeof p.text === 'string').map((p) => p.text).join('\n');

// What the tools answered to a model that only writes text.
const isObservation = (text) => text.startsWith('Observation:');

// What each form says of a request: the prompt as [{ role, text, results }], the text of its instructions, and its tools.
const readers = {
	openai: (body) => ({
		prompt: (Array.isArray(body.messages) ? body.messages : []).map((m) =>
			m.role === 'tool' ? { role: 'tool', text: '', results: [textOf(m.content)] } : { role: m.role, text: textOf(m.content), results: [] }),
		system: (body.messages ?? []).filter((m) => ['system', 'developer'].includes(m.role)).map((m) => textOf(m.content)).join('\n'),
		tools: (body.tools ?? []).map((t) => ({ name: t.function.name, schema: t.function.parameters })),
	}),
	anthropic: (body) => ({
		prompt: (Array.isArray(body.messages) ? body.messages : []).map((m) => ({ role: m.role, text: textOf(m.content),
			results: Array.isArray(m.content) ? m.content.filter((p) => p.type === 'tool_result').map((p) => textOf(p.content)) : [] })),
		system: textOf(body.system),
		tools: (body.tools ?? []).map((t) => ({ name: t.name, schema: t.input_schema })),
	}),
	gemini: (body) => ({
		prompt: (Array.isArray(body.contents) ? body.contents : []).map((c) => ({ role: c.role, text: textOf(c.parts),
			results: (c.parts ?? []).filter((p) => p.functionResponse).map(({ functionResponse: { response } }) => {
				const value = response.output ?? response.error ?? response;
				return typeof value === 'string' ? value : JSON.stringify(value);
			}) })),
		system: textOf(body.systemInstruction?.parts),
		tools: (body.tools ?? []).flatMap((t) => t.functionDeclarations ?? []).map((t) => ({ name: t.name, schema: t.parametersJsonSchema })),
	}),
};

// A request in one form: what the user said last, the results behind it in rounds of calls, the tools.
function readRequest(form, body) {
	const { prompt, system, tools } = readers[form](body);
	const said = prompt.findLastIndex((m) => m.role === 'user' && m.text !== '' && !isObservation(m.text));
	const behind = prompt.slice(said + 1);
	const rounds = behind.filter((m) => m.role === 'assistant' || m.role === 'model').length;
	const last = behind.findLastIndex((m) => m.role === 'assistant' || m.role === 'model');
	const answers = last < 0 ? [] : behind.slice(last + 1);
	const results = answers.flatMap((m) => isObservation(m.text) ? m.text.split('\n').slice(1) : m.results);
	const told = system.split('\n').filter((line) => line.startsWith('{"name":')).map((line) => JSON.parse(line));
	return { text: said < 0 ? '' : prompt[said].text, rounds, results,
		tools: tools.length > 0 ? tools : told.map((t) => ({ name: t.name, schema: t.parameters })) };
}

const lastUserText = (body) => readRequest('openai', body).text;

const answerText = (body) => `Hello from the stub. You said: ${lastUserText(body)}`;
const halves = (text) => [text.slice(0, text.length / 2), text.slice(text.length / 2)];
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

// An answer that is no whole one: it breaks off here.
async function breakOff(res, list, isReset) {
	res.isBroken = true;
	startStream(res);
	await write(res, list.join(''));
	if (!isReset)
		return res.end();
	await sleep(20);
	res.socket?.resetAndDestroy();
}

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

// A text and calls: [{ name, arguments }], the arguments as text.
function callEvents(model, text, calls) {
	const call = (index, fn, more = {}) => chunk(model, { tool_calls: [{ index, ...more, function: fn }] });
	return [
		chunk(model, { role: 'assistant', content: text }),
		...calls.map((c, i) => call(i, { name: c.name, arguments: '' }, { id: `call_${randomUUID()}`, type: 'function' })),
		...calls.flatMap((c, i) => halves(c.arguments).map((half) => call(i, { arguments: half }))),
		chunk(model, {}, 'tool_calls'),
		JSON.stringify({ ...base(model), choices: [], usage }),
		'[DONE]',
	].map((data) => event(data));
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

// What gives no whole answer, though it may end like one.
const failing = (behave) => (res, ...args) => {
	res.isBroken = true;
	return behave(res, ...args);
};

// ---- what it does, by model name ("name" or "name:argument") ----

const behaviours = {
	ok: (res, body) => stream(res, eventsOf(body)),
	bytes: (res, body) => inBytes(res, eventsOf(body).join('')),
	'split-utf8': (res, body) => inBytes(res, eventsOf(body, { text: 'Grüße, 世界 🌍!' }).join('')),
	crlf: (res, body) => inBytes(res, eventsOf(body, { end: '\r\n' }).join('')),
	cr: (res, body) => inBytes(res, eventsOf(body, { end: '\r' }).join('')),
	cut: (res, body) => breakOff(res, eventsOf(body).slice(0, 4), false),
	'error-in-stream': failing((res, body) =>
		stream(res, [...eventsOf(body).slice(0, 3), event(JSON.stringify({ error: { message: 'The stub broke',
				type: 'server_error', code: null } }))])),
	'event-error': failing((res, body) => stream(res, [...eventsOf(body).slice(0, 3), 'event: error\ndata: {"message":"The stub broke"}\n\n'])),
	'usage-null': (res, body) => stream(res, eventsOf(body, { usageNull: true })),
	'no-usage': (res, body) => stream(res, eventsOf(body, { withUsage: false })),
	tools: (res, body) => stream(res, toolEvents(body.model)),
	429: (res) => problem(res, 429, 'Slow down', { 'Retry-After': '7' }),
	500: (res) => problem(res, 500, 'The stub failed'),
	400: (res) => problem(res, 400, 'The stub refused'),
	401: (res, body, key) => problem(res, 401, `Incorrect API key provided: ${key}`),
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
	tokens: (res, body, key, n, ms = 0) => // so many words, and milliseconds between them
		stream(res, eventsOf(body, { text: Array.from({ length: Number(n) }, (_, i) => `t${i}`).join(' ') }), Number(ms)),
};

// ---- the same in Anthropic's form ----

const named = (type, more = {}, end = '\n') => `event: ${type}${end}data: ${JSON.stringify({ type,
		...more })}  ${end}${end}`; // blanks as the service has them

function anthropicEvents(body, { end = '\n', text = `Hello from the stub. You said: ${readRequest('anthropic', body).text}`, blocks = null, reason = 'end_turn' } = {}) {
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
	cut: (res, body) => breakOff(res, anthropicEvents(body).slice(0, 5), false),
	'error-in-stream': failing((res, body) =>
		stream(res, [...anthropicEvents(body).slice(0, 5), named('error', { error: { type: 'overloaded_error', message: 'Overloaded' } })])),
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
	const said = `Hello from the stub. You said: ${readRequest('gemini', body).text}`;
	const list = parts ?? words(text ?? said).map((word) => ({ text: word }));
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
	cut: (res, body) => breakOff(res, geminiEvents(body).slice(0, 3), false),
	'error-in-stream': failing((res, body) => stream(res, [...geminiEvents(body).slice(0, 3), geminiError(503, 'Overloaded', 'UNAVAILABLE')])),
	blocked: failing((res, body) => stream(res, [event(JSON.stringify({ promptFeedback: { blockReason: 'SAFETY' },
			usageMetadata: { promptTokenCount: 11 }, modelVersion: body.model }))])),
	tools: (res, body) => stream(res, geminiEvents(body, { parts: geminiTools })),
	thoughts: (res, body) => stream(res, geminiEvents(body, { parts: [{ text: 'Hm.', thought: true }, { text: 'Thought over.' },
			{ text: '', thoughtSignature: 'c2lnbmVk' }] })),
	429: (res) => geminiProblem(res, 429, 'Slow down', { headers: { 'Retry-After': '7' } }),
	503: (res) => geminiProblem(res, 503, 'Overloaded', { list: true }),
	400: (res, body, key) => geminiProblem(res, 400, `API key not valid: ${key}`, { list: true }),
	slow: (res, body, key, ms) => stream(res, geminiEvents(body), Number(ms)),
};

// ---- what all three do ----

// A value that a schema accepts, of the required members only.
function sampleOf(schema) {
	const { type, enum: choices, properties = {}, required = [], items, minimum } = schema ?? {};
	const samples = { string: 'x', integer: minimum ?? 1, number: minimum ?? 1.5, boolean: true, null: null, array: items ? [sampleOf(items)] : [] };
	if (choices)
		return choices[0];
	const first = Array.isArray(type) ? type[0] : type;
	if (Object.hasOwn(samples, first))
		return samples[first];
	return Object.fromEntries(required.map((name) => [name, sampleOf(properties[name])]));
}

// The arguments for a tool: what the user's text has of it as {"NAME":{...}}, else a sample.
function argumentsFor(tool, text) {
	try {
		const said = JSON.parse(/\{.*\}/s.exec(text)[0]);
		if (typeof said[tool.name] === 'object')
			return said[tool.name];
	} catch {
		// it names none
	}
	return sampleOf(tool.schema);
}

const forms = {
	openai: {
		say: (body, text) => eventsOf(body, { text }),
		call: (body, text, calls) => callEvents(body.model, text, calls),
		problem,
	},
	anthropic: {
		say: (body, text) => anthropicEvents(body, { text }),
		call: (body, text, calls) => anthropicEvents(body, { reason: 'tool_use', blocks: [
			{ start: { type: 'text', text: '' }, deltas: [{ type: 'text_delta', text }] },
			...calls.map((c) => ({ start: { type: 'tool_use', id: `toolu_${randomUUID()}`, name: c.name, input: {} },
				deltas: inputOf(...halves(c.arguments)) }))] }),
		problem: (res, status, message, headers) => anthropicProblem(res, status, 'api_error', message, headers),
	},
	gemini: { // its arguments are always JSON: what is not, it tells by itself
		say: (body, text) => geminiEvents(body, { text }),
		call: (body, text, calls) => calls.some((c) => !c.arguments.endsWith('}')) ? geminiEvents(body, { parts: [], reason: 'MALFORMED_FUNCTION_CALL' }) :
			geminiEvents(body, { parts: [{ text }, ...calls.map((c, i) => ({ functionCall: { ...(i > 0 ? { id: `fc_${randomUUID()}` } : {}),
				name: c.name, args: JSON.parse(c.arguments) }, ...(i === 0 ? { thoughtSignature: 'c2lnbmVk' } : {}) }))] }),
		problem: (res, status, message, headers) => geminiProblem(res, status, message, { headers }),
	},
};

// A step of a model that only writes text.
const written = (calls) => JSON.stringify(calls.length === 1 ? { thought: 'Let me see.', tool: calls[0].name, arguments: JSON.parse(calls[0].arguments) } :
	{ thought: 'Let me see.', tools: calls.map((c) => ({ tool: c.name, arguments: JSON.parse(c.arguments) })) });

function behavioursOf(form) {
	const { say, call, problem: fail } = forms[form];
	const read = (body) => readRequest(form, body);
	const callsOf = (rq) => rq.tools.map((tool) => ({ name: tool.name, arguments: JSON.stringify(argumentsFor(tool, rq.text)) }));
	const hello = (body) => `Hello from the stub. You said: ${read(body).text}`;
	const summary = (rq) => `The tools said: ${rq.results.join(' | ')}`;
	// How often this model was asked with this text, this time included.
	const nthTry = (body) => {
		const name = JSON.stringify([form, body.model, read(body).text]);
		tries.set(name, (tries.get(name) ?? 0) + 1);
		return tries.get(name);
	};
	const once = (isReset) => (res, body) => nthTry(body) > 1 ? stream(res, say(body, `Hello again. You said: ${read(body).text}`)) :
		breakOff(res, say(body, hello(body)).slice(0, 5), isReset);
	// Calls unless the tools answered already, so many rounds of them.
	const loop = (callsFor, rounds = 1) => (res, body) => {
		const rq = read(body), calls = callsFor(rq);
		const isDone = calls.length === 0 || (rq.rounds >= rounds && rq.results.length > 0);
		return stream(res, isDone ? say(body, summary(rq)) : call(body, 'Let me see.', calls));
	};
	return {
		'tool-loop': (res, body, key, rounds = '1') => loop(callsOf, Number(rounds))(res, body),
		'tool-forever': loop(callsOf, Infinity),
		'tool-unknown': loop(() => [{ name: 'no_such_tool', arguments: '{}' }]),
		'tool-bad-args': loop((rq) => callsOf(rq).map((c) => ({ ...c, arguments: '{"a": not JSON' }))),
		'text-loop': (res, body, key, rounds = '1') => {
			const rq = read(body);
			const isDone = rq.tools.length === 0 || (rq.rounds >= Number(rounds) && rq.results.length > 0);
			return stream(res, say(body, isDone ? JSON.stringify({ thought: 'I know.', answer: summary(rq) }) : written(callsOf(rq))));
		},
		flaky: (res, body, key, times, status = '500') => nthTry(body) > Number(times) ? stream(res, say(body, `Hello at last. You said: ${read(body).text}`)) :
			fail(res, Number(status), 'The stub failed', status === '429' ? { 'Retry-After': '1' } : {}),
		'cut-once': once(false),
		'reset-once': once(true),
		reset: (res, body) => breakOff(res, say(body, hello(body)).slice(0, 4), true),
		'reset-early': failing((res) => res.socket.resetAndDestroy()),
		'cut-rune': failing(async (res, body) => {
			const all = Buffer.from(say(body, 'Grüße, 世界!').join(''));
			startStream(res);
			await write(res, all.subarray(0, all.indexOf('世') + 1));
			res.end();
		}),
		hang: () => {},
		'hang-mid': async (res, body) => {
			startStream(res);
			await write(res, say(body, hello(body)).slice(0, 5).join(''));
		},
		drip: (res, body) => inBytes(res, say(body, hello(body)).join(''), 1000),
		nonsense: failing((res) => stream(res, ['data: this is no JSON\n\n'])),
		html: failing((res) => {
			res.writeHead(200, { 'Content-Type': 'text/html' });
			res.end('<!doctype html><title>Sign in</title><p>Please sign in.\n');
		}),
		redirect: failing((res) => {
			res.writeHead(302, { Location: 'http://10.0.0.1/v1' });
			res.end();
		}),
		huge: async (res, body) => { // without end, in many events
			const [first, ...more] = say(body, 'x'.repeat(8000));
			const again = form === 'anthropic' ? more[2] : form === 'openai' ? more[0] : first;
			startStream(res);
			await write(res, form === 'anthropic' ? [first, ...more.slice(0, 2)].join('') : first);
			while (await write(res, again))
				;
		},
		'huge-event': async (res) => { // without end, in one
			startStream(res);
			await write(res, 'data: {"x":"');
			while (await write(res, 'x'.repeat(8000)))
				;
		},
		'huge-error': failing(async (res) => {
			res.writeHead(500, { 'Content-Type': 'text/plain' });
			while (await write(res, 'x'.repeat(8000)))
				;
		}),
		count: (res, body) => stream(res, say(body, `Answer ${nthTry(body)} to: ${read(body).text}`)),
	};
}

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

function countEnd(res, all) {
	res.on('close', () => {
		const end = !res.writableFinished && !res.isBroken ? 'aborted' : res.statusCode === 200 && !res.isBroken ? 'completed' : 'failed';
		for (const each of all)
			each[end]++;
		if (end === 'aborted') {
			all[0].aborts.push(new Date().toISOString());
			all[0].aborts.splice(0, all[0].aborts.length - 100);
		}
	});
}

// `model`: as the path names it, where it does.
async function complete(req, res, form, table, model = null) {
	const all = [stats];
	stats.requests++;
	countEnd(res, all);
	let body;
	try {
		body = JSON.parse(await readBody(req));
	} catch {
		return problem(res, 400, 'The body is not JSON');
	}
	if (model !== null)
		body.model = model;
	all.push(all[0].by_key[readRequest(form, body).text] ??= counts());
	all[1].requests++;
	remember(req, body);
	const [name, ...rest] = String(body.model).split(':');
	const behave = Object.hasOwn(table, name) ? table[name] : null;
	if (!behave)
		return problem(res, 404, `There is no model named ${body.model}`);
	return behave(res, body, keyOf(req.headers), ...rest);
}

const tables = {
	openai: { ...behavioursOf('openai'), ...behaviours },
	anthropic: { ...behavioursOf('anthropic'), ...anthropicBehaviours },
	gemini: { ...behavioursOf('gemini'), ...geminiBehaviours },
};

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
		tries = new Map();
		return sendJson(res, stats);
	}
	if (req.method === 'POST' && path === '/v1/chat/completions')
		return complete(req, res, 'openai', tables.openai).catch(() => res.destroy());
	if (req.method === 'POST' && path === '/v1/messages' && req.headers['anthropic-version'])
		return complete(req, res, 'anthropic', tables.anthropic).catch(() => res.destroy());
	const model = /^\/v1\/models\/([^/]+):streamGenerateContent$/.exec(path);
	if (req.method === 'POST' && model && req.url.endsWith('?alt=sse'))
		return complete(req, res, 'gemini', tables.gemini, decodeURIComponent(model[1])).catch(() => res.destroy());
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
