// SPDX-License-Identifier: MIT
// smuggle: sends bodies that contain FastCGI records of a whole forged request, to every route and every early exit.
//   node smuggle.mjs naive                attacks only, against a responder that leaves bodies unread
//   node smuggle.mjs parley ROUTES LABEL  ROUTES: the output of `parley routes`
// Environment URL, SK. The forged request makes a session with the secret key, so that it is seen if it ran.
import { readFileSync } from 'node:fs';
import { check, finish, request, sleep, step } from './api.mjs';

const { SK = 'none' } = process.env;
const [, , mode, routesFile, label = mode] = process.argv;

const record = (type, content, id = 1) => {
	const padding = (8 - (content.length % 8)) % 8;
	const head = Buffer.from([1, type, id >> 8, id & 255, content.length >> 8, content.length & 255, padding, 0]);
	return Buffer.concat([head, content, Buffer.alloc(padding)]);
};
const length = (n) => (n < 128 ? Buffer.from([n]) : Buffer.from([(n >> 24) | 128, (n >> 16) & 255, (n >> 8) & 255, n & 255]));
const pair = (name, value) => Buffer.concat([length(name.length), length(value.length), Buffer.from(name), Buffer.from(value)]);

// The forged request, in records: BEGIN, PARAMS, STDIN. It claims to come from the machine itself.
function forged(id) {
	const body = Buffer.from(JSON.stringify({ agent: 'echo', id }));
	const params = Object.entries({
		REQUEST_METHOD: 'POST', REQUEST_URI: '/v1/sessions', QUERY_STRING: '', CONTENT_TYPE: 'application/json', CONTENT_LENGTH: String(body.length),
		REMOTE_ADDR: '10.0.0.1', REMOTE_USER: 'admin', HTTP_AUTHORIZATION: `Bearer ${SK}`,
	}).map(([name, value]) => pair(name, value));
	return Buffer.concat([
		record(1, Buffer.from([0, 1, 1, 0, 0, 0, 0, 0])), record(4, Buffer.concat(params)), record(4, Buffer.alloc(0)),
		record(5, body), record(5, Buffer.alloc(0)),
	]);
}

// Records of another request, which a reader skips: a header that says 8 bytes, over and over, so that wherever in the body reading goes on
// (in steps of 8), a record begins. The last three end together, whether the first of them is taken as a header or as content.
const skip = (n) => Buffer.from([1, 5, 255, 255, 0, n, 0, 0]);
const attack = (id, size) => {
	const tail = Buffer.concat([skip(16), skip(8), skip(8), forged(id)]);
	const n = Math.max(0, Math.floor((size - tail.length) / 8));
	return Buffer.concat([...Array(n).fill(skip(8)), tail]);
};

let number = 0;
const ids = [];
async function strike(method, path, { key = SK, headers = {}, size = 20920 } = {}) {
	const id = `smuggled-${label}-${number++}`;
	ids.push(id);
	const rs = await request(method, path, { key, body: attack(id, size), headers }).catch((error) => ({ status: error.code, headers: {}, text: String(error) }));
	// Something small behind it, for the kept connection to be used again.
	await request('GET', '/healthz').catch(() => {});
	return rs;
}

async function attackNaive() {
	for (let i = 0; i < 20; i++)
		await strike('POST', '/v1/anything', { headers: { 'Content-Type': 'application/octet-stream' } });
	await sleep(300);
}

// "METHOD /path ..." anywhere in a line.
const routes = () => [...readFileSync(routesFile, 'utf8').matchAll(/\b(GET|POST|PUT|PATCH|DELETE)\s+(\/\S*)/g)]
	.map(([, method, path]) => [method, path.replace(/\{[^}]*\}/g, 'none')]);

// A worker that closes connections which the web server wants to keep costs an answer now and then: ask again.
async function patient(path) {
	for (let tries = 0; ; tries++) {
		const rs = await request('GET', path, { key: SK });
		if (rs.status < 500 || tries === 20)
			return rs;
		await sleep(10);
	}
}

async function attackParley() {
	const list = routes();
	check(`${label}: there are routes to attack`, list.length > 10, list);
	const exits = [
		['with a credential', {}],
		['without one (401)', { key: undefined }],
		['as another type (415)', { headers: { 'Content-Type': 'text/plain' } }],
		['larger than the first buffers', { size: 200000 }],
		['larger than max_body (413)', { size: 1300000 }],
	];
	const served = [];
	for (const [method, path] of [...list, ['POST', '/v1/none'], ['PUT', '/v1/sessions'], ['POST', '/'], ['POST', '/v1/sessions?x=%zz']])
		for (const [what, how] of exits) {
			const rs = await strike(method, path, { ...how, key: 'key' in how ? how.key : SK });
			if (!(rs.status >= 400 && rs.status < 500) && !(method === 'GET' && rs.status === 200) && rs.status !== 503)
				served.push(`${method} ${path} ${what}: ${rs.status}`);
		}
	check(`${label}: ${ids.length} attacks are refused as what they are`, served.length === 0, served);
	await sleep(300);
	const forgedOnes = [];
	for (const id of ids) {
		const rs = await patient(`/v1/sessions/${id}`);
		if (rs.status !== 404)
			forgedOnes.push(`${id}: ${rs.status}`);
	}
	check(`${label}: none of them became a request`, forgedOnes.length === 0, forgedOnes);
	const list2 = await patient('/v1/sessions?limit=100');
	check(`${label}: no session was made`, list2.status === 200 && !list2.json.data.some((s) => String(s.id).startsWith('smuggled')), list2);
}

await step(`${label}: attack`, mode === 'naive' ? attackNaive : attackParley);
finish();
