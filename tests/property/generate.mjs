// SPDX-License-Identifier: MIT
// generate: requests from the document: values of its schemas, places for what earlier answers gave, and ways to spoil a request.
import fc from 'fast-check';

// Stands in a generated request for something that an earlier answer of the same run held; the client puts it in.
export class Known {
	constructor(name, type, pick) {
		this.name = name;
		this.type = type;
		this.pick = pick;
	}
	toString() {
		return `<known ${this.name} ${this.pick}>`;
	}
	toJSON() {
		return this.toString();
	}
}

const known = (name, type) => fc.nat({ max: 30 }).map((pick) => new Known(name, type, pick));

// Mostly few of many: with a lot of optional members, requests that have them all are refused for one reason or another.
const someOf = (list) => fc.subarray(list, { maxLength: Math.min(3, list.length) });

const LAYOUT = /[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/u;
const PRINTED = /[^\u0000-\u001f\u007f-\u009f]/u;
const WORDS = ['a', 'Grüße', '世界', '🌍', 'שלום', 'e\u0301', 'quote "', '\\', "O'Neill", '%', '_', ';--', '{{x}}', ' ', '\u202e', '\ufeff', 'ß', '0', 'null', '-1'];

// Not too long by bytes: cut between characters.
export function cutToBytes(text, most) {
	let n = 0, out = '';
	for (const c of text) {
		n += Buffer.byteLength(c);
		if (n > most)
			break;
		out += c;
	}
	return out;
}

function textLike(allowed, schema) {
	const least = schema.minLength ?? 0, most = Math.min(schema['x-maxBytes'] ?? Infinity, (schema.maxLength ?? 25) * 4);
	const clean = (s) => {
		const kept = [...s].filter((c) => allowed.test(c)).slice(0, schema.maxLength ?? 2000).join('');
		const cut = cutToBytes(kept, most);
		return cut.length >= least ? cut : 'x'.repeat(Math.max(least, 1));
	};
	return fc.oneof(
		{ weight: 4, arbitrary: fc.array(fc.constantFrom(...WORDS), { maxLength: 6 }).map((w) => clean(w.join(' '))) },
		{ weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }).map(clean) },
		{ weight: 1, arbitrary: fc.constant(clean('é'.repeat(Math.min(most, 4000)))) },
		{ weight: 1, arbitrary: fc.constant(clean('x'.repeat(Math.min(most, 4000)))) },
	);
}

function stringOf(schema) {
	const pattern = schema.pattern;
	if (schema.format === 'date-time')
		return fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }).map((d) => d.toISOString());
	if (pattern === undefined)
		return textLike(LAYOUT, schema);
	if (pattern.startsWith('^[^'))
		return textLike(pattern.includes('u000b') ? LAYOUT : PRINTED, schema);
	return fc.stringMatching(new RegExp(pattern), { maxLength: schema.maxLength ?? 60 })
		.map((s) => (s.length >= (schema.minLength ?? 0) ? s.slice(0, schema.maxLength) : 'a'.repeat(schema.minLength)));
}

function integerOf(schema) {
	const low = Math.max(schema.minimum ?? -1000, Number.MIN_SAFE_INTEGER), high = Math.min(schema.maximum ?? Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
	const small = Math.min(high, low + 20);
	return fc.oneof({ weight: 4, arbitrary: fc.integer({ min: low, max: small }) }, { weight: 1, arbitrary: fc.constantFrom(low, high) },
		{ weight: 1, arbitrary: fc.integer({ min: low, max: high }) });
}

// Any JSON, not large; names that matter to a prototype or a database among the keys.
const anyKey = fc.oneof(fc.constantFrom('a', 'type', 'text', '__proto__', 'constructor', 'id', 'ключ', '🌍', 'a.b', '$ref', 'é🌍'.repeat(13)), fc.string({ unit: 'grapheme', maxLength: 8 }));
const anyJson = fc.letrec((tie) => ({
	value: fc.oneof({ maxDepth: 3, withCrossShrink: true }, fc.constantFrom(null, true, false, 0, -1, 1.5, 1e300), fc.string({ unit: 'grapheme', maxLength: 12 }),
		fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(anyKey, tie('value'), { maxKeys: 3, noNullPrototype: true })),
})).value;
const anyObject = fc.dictionary(anyKey, anyJson, { maxKeys: 4, noNullPrototype: true });

// What a member of this name can be that an earlier answer gave.
const NAMED = new Set(['agent', 'session', 'session_id', 'user', 'user_id', 'message', 'regenerate', 'conversation', 'conversation_id', 'message_id', 'turn_id', 'parent', 'from', 'at', 'seq', 'after',
	'before', 'min_seq', 'template', 'preset', 'name', 'id', 'tag', 'tags', 'from_seq', 'to_seq', 'after_seq', 'upto', 'until', 'ids', 'sessions', 'key']);

export function valueOf(schema, name, doc) {
	const plain = plainValue(doc.follow(schema), name, doc);
	const made = schema.examples ? fc.oneof({ weight: 3, arbitrary: plain }, { weight: 1, arbitrary: fc.constantFrom(...schema.examples) }) : plain;
	const type = schema.type;
	const canBeKnown = NAMED.has(name) && (type === 'string' || type === 'integer') && !schema.enum;
	return canBeKnown ? fc.oneof({ weight: 3, arbitrary: known(name, type) }, { weight: 2, arbitrary: made }) : made;
}

function plainValue(schema, name, doc) {
	if (schema.enum)
		return fc.constantFrom(...schema.enum);
	if ('const' in schema)
		return fc.constant(schema.const);
	if ((schema.oneOf || schema.anyOf) && !schema.properties)
		return fc.oneof(...(schema.oneOf ?? schema.anyOf).map((s) => valueOf({ 'x-maxBytes': schema['x-maxBytes'], ...s }, name, doc)));
	const types = [schema.type ?? 'any'].flat();
	return fc.oneof(...types.map((type) => ofType(type, schema, name, doc)));
}

function ofType(type, schema, name, doc) {
	switch (type) {
	case 'null':
		return fc.constant(null);
	case 'boolean':
		return fc.boolean();
	case 'string':
		return stringOf(schema);
	case 'integer':
		return integerOf(schema);
	case 'number':
		return fc.double({ min: schema.minimum ?? -1e6, max: schema.maximum ?? 1e6, noNaN: true });
	case 'array':
		return arrayOf(schema, name, doc);
	case 'object':
		return objectOf(schema, doc);
	default:
		return anyJson;
	}
}

function arrayOf(schema, name, doc) {
	const bounds = { minLength: schema.minItems ?? 0, maxLength: Math.min(schema.maxItems ?? 4, Math.max(4, schema.minItems ?? 0)) };
	const item = schema.items ? valueOf(schema.items, name, doc) : anyJson;
	return schema.uniqueItems ? fc.uniqueArray(item, { ...bounds, selector: (v) => String(v) }) : fc.array(item, bounds);
}

function objectOf(schema, doc) {
	if (!schema.properties) {
		if (typeof schema.additionalProperties !== 'object')
			return anyObject;
		return fc.dictionary(stringOf({ minLength: 1, maxLength: 64, ...schema.propertyNames }), valueOf(schema.additionalProperties, '', doc),
			{ maxKeys: Math.min(schema.maxProperties ?? 4, 4), noNullPrototype: true });
	}
	const members = Object.fromEntries(Object.entries(schema.properties).map(([k, s]) => [k, valueOf(s, k, doc)]));
	const shapes = [schema.required ?? []];
	for (const choice of schema.anyOf ?? schema.oneOf ?? [])
		shapes.push([...(schema.required ?? []), ...(choice.required ?? [])]);
	const named = shapes.length > 1 ? shapes.slice(1) : shapes;
	return fc.oneof(...named.flatMap((required) => {
		const few = someOf(Object.keys(members).filter((k) => !required.includes(k)))
			.chain((more) => fc.record(Object.fromEntries([...required, ...more].map((k) => [k, members[k]])), { noNullPrototype: true }));
		return [{ weight: 4, arbitrary: few }, { weight: 1, arbitrary: fc.record(members, { requiredKeys: required, noNullPrototype: true }) }];
	}));
}

// --- ways to spoil ---

const ODD_VALUES = [null, true, 0, -1, 1.5, 1e21, -9007199254740993, 2 ** 53, '', '🌍', '\u0000', 'é'.repeat(333), 'x'.repeat(5000), [], {}, [[]], [null], { a: 1 }, '9'.repeat(400)];
const ODD_TEXTS = ['', '{', '[1', 'null', '"text"', '{}x', '\ufeff{}', '{"a":1,"a":2}', '{"a":"\\ud800"}', '{"a":01}', '{"a":1e999}', '{"a":NaN}', "{'a':1}", '{"a":\u0001}',
	'['.repeat(10000), '{"a":'.repeat(5000), '{"\\u0000":1}', '123456789012345678901234567890', '{"a":1,}', '//'];
const ODD_SEGMENTS = ['%00', '%zz', '%', '%ff%fe', '%f0%9f%8c%8d', '..', '%2e%2e', '%2f', 'a'.repeat(300), 'é', 'ses_', 'ses_00000000000000000000000000',
	'SES_01JCX3E8Q6F0T9V1N4M7R2K5WD', 'cnv_01jcx3e8q6c2p5x8a1d4g7j0ms', '0', '-1', '%27%20OR%201=1', '*', '~', 'null', 'a b'.replace(' ', '%20'), '%0d%0aX:1'];
const ODD_QUERIES = ['%', '%zz=1', 'limit=%', 'limit=1&limit=2', 'limit=', 'limit', '=', '&&&', 'unknown=1', 'limit=99999999999999999999', 'limit=-1', 'limit=1.0', 'order=ASC', 'after=%00',
	'after=%ff', 'before=%F0%9F%8C%8D', 'limit=%31', '%6cimit=1', 'limit=1%20', 'after=' + 'a'.repeat(3000), 'after=1&before=0', '__proto__=1', 'min_seq=9223372036854775807', 'order=desc&order=asc'];

const bodySpoiler = fc.oneof(
	{ weight: 3, arbitrary: fc.record({ kind: fc.constant('replace'), at: fc.nat(60), value: fc.constantFrom(...ODD_VALUES) }) },
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant('drop'), at: fc.nat(60) }) },
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant('add'), name: fc.oneof(fc.constantFrom('unknown', 'titel', '__proto__', '', 'x'.repeat(300), 'é🌍'.repeat(40)), anyKey), value: anyJson }) },
	{ weight: 2, arbitrary: fc.record({ kind: fc.constant('text'), text: fc.constantFrom(...ODD_TEXTS) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('cut'), at: fc.nat(1000) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('bytes'), at: fc.nat(1000) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('many'), at: fc.nat(60), n: fc.constantFrom(33, 1001, 10000) }) },
);
// Two megabytes cost more than all else in a run.
const hugeSpoiler = fc.record({ kind: fc.constant('huge'), at: fc.nat(60), bytes: fc.constantFrom(70000, 300000, 1000000, 1048570, 2000000, 2100000) });

const headerSpoiler = fc.oneof(
	fc.record({ kind: fc.constant('header'), name: fc.constant('If-Match'), value: fc.constantFrom('*', '"1"', '"2"', '"0"', '1', 'W/"1"', '"-1"', '"999999999999"', '""', '"a"', '"1", "2"', 'é') }),
	fc.record({ kind: fc.constant('header'), name: fc.constant('Idempotency-Key'), value: fc.constantFrom('k1-0123456789abcdef', 'k2-0123456789abcdef', 'k', '"quoted-0123456789"', '""', 'a b',
		'é', 'x'.repeat(255), 'x'.repeat(256), 'x'.repeat(3000)) }),
	fc.record({ kind: fc.constant('header'), name: fc.constant('Content-Type'), value: fc.constantFrom('text/plain', 'application/json; charset=utf-8', 'application/jsonx', 'multipart/form-data', '', 'APPLICATION/JSON') }),
	fc.record({ kind: fc.constant('header'), name: fc.constant('X-Request-Id'), value: fc.constantFrom('short', 'abcdefgh-1234', 'x'.repeat(100), 'bad id here', '../../etc') }),
	fc.record({ kind: fc.constant('header'), name: fc.constant('Origin'), value: fc.constantFrom('http://evil.example', 'null', 'http://shop.example', 'HTTP://SHOP.EXAMPLE', '🌍'.replace('🌍', 'x')) }),
	fc.record({ kind: fc.constant('header'), name: fc.constantFrom('Accept', 'Last-Event-ID', 'If-None-Match', 'Accept-Encoding', 'X-Forwarded-For'), value: fc.constantFrom('text/html', '*', 'x', '999.1.1.1', 'gzip') }),
);
const placeSpoiler = fc.oneof(
	fc.record({ kind: fc.constant('segment'), at: fc.nat(5), value: fc.constantFrom(...ODD_SEGMENTS) }),
	fc.record({ kind: fc.constant('foreign'), at: fc.nat(5), pick: fc.nat(30) }),
	fc.record({ kind: fc.constant('query'), text: fc.constantFrom(...ODD_QUERIES) }),
	fc.record({ kind: fc.constant('method'), value: fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'BREW') }),
);

export const spoiler = fc.oneof({ weight: 6, arbitrary: bodySpoiler }, { weight: 3, arbitrary: headerSpoiler }, { weight: 4, arbitrary: placeSpoiler });

const CREDENTIALS = ['none', 'forged', 'other', 'pk', 'pk-origin', 'token', 'token-other', 'token-forged', 'basic', 'two', 'lower'];

// One request for an operation. Half of them are as the document wants them.
function requestFor(o, doc) {
	const query = o.parameters.filter((p) => p.in === 'query');
	const path = o.parameters.filter((p) => p.in === 'path');
	const param = (p) => fc.oneof({ weight: 12, arbitrary: known(`{${p.name}}`, 'string') }, { weight: 1, arbitrary: fc.constant(p.example) });
	const required = query.filter((p) => p.required);
	return fc.record({
		name: fc.constant(o.name),
		path: fc.tuple(...path.map(param)),
		query: someOf(query.filter((p) => !p.required))
			.chain((chosen) => fc.record(Object.fromEntries([...required, ...chosen].map((p) => [p.name, valueOf(p.schema, p.name, doc)])), { noNullPrototype: true })),
		body: o.body ? fc.oneof({ weight: 9, arbitrary: valueOf(o.body, '', doc) }, { weight: 1, arbitrary: fc.constant(o.op.requestBody.content['application/json'].example) })
			: o.bodyMedia.length ? known('export', 'string') : fc.constant(undefined),
		who: fc.oneof({ weight: 10, arbitrary: fc.constant('sk') }, { weight: 3, arbitrary: fc.constant('token') }, { weight: 2, arbitrary: fc.constantFrom(...CREDENTIALS) }),
		key: fc.oneof({ weight: 7, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.constantFrom('k1-0123456789abcdef', 'k2-0123456789abcdef', 'k3-0123456789abcdef') }),
		isGuarded: fc.boolean(),
		spoilers: fc.oneof({ weight: 6, arbitrary: fc.constant([]) }, { weight: 5, arbitrary: fc.array(spoiler, { minLength: 1, maxLength: 2 }) }),
	});
}

// Deleting is rarer than making, so that there is something to work on; a whole site is long to export.
function weightOf(o) {
	if (o.isOpen || o.path === '/v1/export')
		return 1;
	return o.method === 'DELETE' ? 4 : o.method === 'POST' ? 12 : 8;
}

export function requests(doc) {
	const plain = fc.oneof(...doc.operations.map((o) => ({ weight: weightOf(o), arbitrary: requestFor(o, doc) })));
	const withBody = doc.operations.filter((o) => o.body);
	const huge = fc.oneof(...withBody.map((o) => requestFor(o, doc)));
	const one = fc.oneof({ weight: 250, arbitrary: plain }, { weight: 1, arbitrary: fc.tuple(huge, hugeSpoiler).map(([r, spoiled]) => ({ ...r, spoilers: [spoiled] })) });
	return fc.array(one, { minLength: 1, maxLength: 50, size: 'max' });
}
