// SPDX-License-Identifier: MIT
// world: what one run of requests knows, and how a generated request becomes one that can be sent.
import { Known } from './generate.mjs';

// Marks that must never reach the wrong site.
export const HOME_MARK = 'home-mark-7c1f';
export const OTHER_MARK = 'other-mark-93ab';

const MOST_KEPT = 40;
// Which kinds of value a parameter or member of this name takes.
const KINDS = {
	'{s}': ['session'], session: ['session'], session_id: ['session'], sessions: ['session'], id: ['session', 'name'],
	'{a}': ['agent'], '{agent}': ['agent'], agent: ['agent'],
	'{t}': ['trn'], turn_id: ['trn'],
	'{c}': ['cnv'], conversation: ['cnv'], conversation_id: ['cnv'], parent: ['cnv'],
	'{m}': ['msg', 'seq'], message_id: ['msg'], message: ['msg'], regenerate: ['msg'], ids: ['msg', 'session'],
	'{tool}': ['tools.name', 'tol'],
	'{u}': ['user'], user: ['user'], user_id: ['user'],
	after: ['next', 'seq', 'cnv', 'msg'], before: ['next', 'seq'],
	at: ['seq', 'msg'], from: ['seq', 'msg', 'created_at'], to: ['seq', 'created_at'], seq: ['seq'], min_seq: ['seq'], from_seq: ['seq'], to_seq: ['seq'], after_seq: ['seq'], upto: ['seq'],
	tag: ['tag'], tags: ['tag'],
};
const FALLBACK = { string: 'ses_00000000000000000000000000', integer: 1 };

export class World {
	constructor({ keys, foreign }) {
		this.keys = keys;       // sk, pk, other
		this.foreign = foreign; // ids of the other site
		this.kept = new Map();
		this.aliases = new Map(); // a session's names to its id
		this.owner = '';        // the session that the request asks about
		this.area = '';         // of the API that is asked now: sessions, agents, ...
		this.tokens = [];
		this.etags = ['"1"'];
		this.keep('agent', 'echo');
	}

	keep(kind, value) {
		const list = this.kept.get(kind) ?? [];
		if (list.includes(value))
			return;
		list.push(value);
		// The first stay, so that there is always something old beside what is new.
		if (list.length > MOST_KEPT)
			list.splice(5, 1);
		this.kept.set(kind, list);
		if (this.owner && !kind.includes('/'))
			this.keep(`${this.owner}/${kind}`, value);
	}

	// Whose things a path or an answer names; what is no session of ours leaves nobody.
	enter(session) {
		this.owner = this.aliases.get(session) ?? '';
	}

	// Takes what an answer names: ids by their prefix, members by their names, sessions and agents as such.
	harvest(value, name = '') {
		if (Array.isArray(value)) {
			for (const v of value)
				this.harvest(v, name.replace(/s$/, ''));
		} else if (value && typeof value === 'object') {
			if (value.conversation_id && value.status && value.agent && value.id) {
				this.aliases.set(value.id, value.id);
				this.aliases.set(value.name, value.id);
				this.enter(value.id);
				this.keep('session', value.id);
				this.keep('session', value.name);
			}
			if (value.instructions !== undefined && value.name)
				this.keep('agent', value.name);
			if (value.id?.startsWith?.('agt_'))
				this.keep('agent', value.id);
			if (typeof value.name === 'string')
				this.keep(`${this.area}.name`, value.name);
			if (/^st_/.test(value.token))
				this.tokens.push(value.token);
			for (const [k, v] of Object.entries(value))
				this.harvest(v, k);
		} else if (typeof value === 'string' && value.length < 200) {
			const prefix = /^([a-z]{3})_[0-9a-z]{26}$/.exec(value)?.[1];
			this.keep(prefix === 'ses' ? 'session' : prefix ?? name, value);
		} else if (Number.isSafeInteger(value)) {
			this.keep(name, value);
		}
	}

	candidates(name, type, pick) {
		const kinds = name === '{name}' ? [`${this.area}.name`] : KINDS[name] ?? [name];
		// Mostly what belongs to the session that is asked about, sometimes what is another's.
		const own = this.owner && pick % 6 ? kinds.flatMap((kind) => this.kept.get(`${this.owner}/${kind}`) ?? []) : [];
		const all = own.length && !['{s}', 'session', 'session_id'].includes(name) ? own : kinds.flatMap((kind) => this.kept.get(kind) ?? []);
		return type === 'integer' ? all.map(Number).filter(Number.isSafeInteger) : all.map(String);
	}

	// The value a Known stands for now; everything else as it is.
	resolve(value) {
		if (value instanceof Known) {
			const list = this.candidates(value.name, value.type, value.pick);
			return list.length ? list[value.pick % list.length] : FALLBACK[value.type];
		}
		if (Array.isArray(value))
			return value.map((v) => this.resolve(v));
		if (value && typeof value === 'object') {
			const out = {};
			for (const [k, v] of Object.entries(value))
				Object.defineProperty(out, k, { value: this.resolve(v), enumerable: true, writable: true, configurable: true });
			return out;
		}
		return value;
	}
}

// Every place in a JSON value, as [holder, key].
function places(value, list = []) {
	if (value && typeof value === 'object') {
		for (const key of Object.keys(value)) {
			list.push([value, key]);
			places(value[key], list);
		}
	}
	return list;
}

const put = (holder, key, value) => Object.defineProperty(holder, key, { value, enumerable: true, writable: true, configurable: true });

const EMOJI = '🌍🎉👩‍🚀é';
const emoji = (bytes) => EMOJI.repeat(Math.ceil(bytes / Buffer.byteLength(EMOJI)));

// Spoils the JSON value of a body; returns it, or another.
function spoilValue(body, s) {
	const all = places(body);
	const [holder, key] = all.length ? all[(s.at ?? 0) % all.length] : [body, 'x'];
	switch (s.kind) {
	case 'replace':
		put(holder, key, structuredClone(s.value)); // a later spoiler may write into it
		break;
	case 'drop':
		if (!Array.isArray(holder))
			delete holder[key];
		break;
	case 'add':
		put(body, s.name, structuredClone(s.value));
		break;
	case 'many': {
		const arrays = all.filter(([h, k]) => Array.isArray(h[k]));
		const [h, k] = arrays.length ? arrays[s.at % arrays.length] : [body, 'tags'];
		put(h, k, Array.from({ length: s.n }, (_, i) => h[k]?.[0] instanceof Object ? h[k][0] : `tag ${i}`));
		break;
	}
	case 'huge': {
		const texts = all.filter(([h, k]) => typeof h[k] === 'string' && !['role', 'type', 'agent'].includes(k));
		const [h, k] = texts.length ? texts[s.at % texts.length] : [body, 'state'];
		put(h, k, k === 'state' ? { big: emoji(s.bytes) } : emoji(s.bytes));
		break;
	}
	}
	return body;
}

function spoilText(data, s) {
	if (s.kind === 'text')
		return Buffer.from(s.text);
	if (s.kind === 'cut')
		return data.subarray(0, s.at % Math.max(data.length, 1));
	if (s.kind === 'bytes' && data.length) {
		const out = Buffer.from(data);
		out[s.at % out.length] = 0xff;
		return out;
	}
	return data;
}

function authorization(who, world, pick) {
	const token = world.tokens[world.tokens.length - 1 - pick % Math.max(world.tokens.length, 1)];
	const flipped = (text) => text.slice(0, -2) + (text.at(-2) === 'x' ? 'y' : 'x') + text.at(-1);
	switch (who) {
	case 'none': return undefined;
	case 'forged': return `Bearer ${flipped(world.keys.sk)}`;
	case 'other': return `Bearer ${world.keys.other}`;
	case 'pk':
	case 'pk-origin': return `Bearer ${world.keys.pk}`;
	case 'token': return `Bearer ${token ?? world.keys.sk}`;
	case 'token-other': return `Bearer ${world.foreign.token}`;
	case 'token-forged': return `Bearer ${flipped(token ?? world.foreign.token)}`;
	case 'basic': return 'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==';
	case 'two': return `Bearer ${world.keys.sk}, Bearer ${world.keys.pk}`;
	case 'lower': return `bearer  ${world.keys.sk}`;
	default: return `Bearer ${world.keys.sk}`;
	}
}

const WITHOUT_CREDENTIAL = new Set(['none', 'forged', 'token-forged', 'basic', 'two']);

// What a path may hold as it is; the rest is escaped here unless it is meant to be odd.
const encodeOdd = (text) => text.replace(/[^!-~]/gu, encodeURIComponent);

/*
 * Makes a generated request one that can be sent: {method, path, headers, data}, and what is known of it: `body` (parsed, when it can be checked against
 * its schema), `queryValues`, `isPathOdd`, `isForeign`, `isUnauthenticated`, `isPlainKey`.
 */
export function build(world, o, request) {
	const out = { method: o.method, headers: {}, isPathOdd: false, isForeign: false, isQueryOdd: false, isTypeOdd: false, isBodyOdd: false, spoilers: request.spoilers };
	world.area = o.path.split('/')[2] ?? '';
	world.owner = '';
	const params = request.path.map((p) => {
		const value = world.resolve(p);
		if (p.name === '{s}')
			world.enter(value);
		return encodeURIComponent(value);
	});
	const segments = o.path.split('/').map((s) => (s.startsWith('{') ? params.shift() : s));
	out.queryValues = world.resolve(request.query);
	let query = Object.entries(out.queryValues).map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join('&');
	let body = request.body === undefined ? undefined : structuredClone(world.resolve(request.body));
	if (request.isGuarded && o.parameters.some((p) => p.name === 'If-Match'))
		out.headers['If-Match'] = world.etags.at(-1);
	if (request.key && o.method === 'POST')
		out.headers['Idempotency-Key'] = request.key;
	for (const s of request.spoilers) {
		const at = o.path.split('/').map((x, i) => [x, i]).filter(([x]) => x.startsWith('{')).map(([, i]) => i);
		if (s.kind === 'segment') {
			segments[at.length ? at[s.at % at.length] : segments.length - 1] = encodeOdd(s.value);
			out.isPathOdd = true;
		} else if (s.kind === 'foreign' && at.length) {
			segments[at[0]] = world.foreign.ids[s.pick % world.foreign.ids.length];
			out.isForeign = !o.path.includes('{u}'); // a user is whoever the site names
		} else if (s.kind === 'query') {
			query += (query ? '&' : '') + encodeOdd(s.text);
			out.isQueryOdd = true;
		} else if (s.kind === 'method') {
			out.method = s.value;
		} else if (s.kind === 'header') {
			out.headers[s.name] = s.value;
			out.isTypeOdd ||= s.name === 'Content-Type';
		} else if (o.body && body !== undefined) {
			body = spoilValue(body, s);
		}
	}
	out.path = segments.join('/') + (query ? `?${query}` : '');
	if (body !== undefined && !o.body) { // lines, as they came
		out.data = request.spoilers.reduce(spoilText, Buffer.from(body));
		out.headers['Content-Type'] ??= o.bodyMedia[0];
	} else if (body !== undefined) {
		const text = Buffer.from(JSON.stringify(body));
		out.data = request.spoilers.reduce(spoilText, text);
		out.isBodyOdd = out.data !== text;
		out.headers['Content-Type'] ??= 'application/json';
		out.body = JSON.parse(text);
	}
	out.who = request.who === 'token' && !world.tokens.length ? 'sk' : request.who;
	const credential = authorization(out.who, world, request.path.length + request.spoilers.length);
	if (credential)
		out.headers.Authorization = credential;
	if (request.who === 'pk-origin')
		out.headers.Origin ??= 'http://shop.example';
	out.isUnauthenticated = WITHOUT_CREDENTIAL.has(out.who);
	return out;
}
