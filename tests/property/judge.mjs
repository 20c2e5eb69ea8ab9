// SPDX-License-Identifier: MIT
// judge: whether an answer is one that the document allows for what was asked. Each verdict is a sentence, or null.
import { HOME_MARK, OTHER_MARK } from './world.mjs';

// What only the inside knows. Requests hold none of it, so that an answer that repeats a request does not either.
const INTERNAL = /\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|sqlite|mariadb|mysql|memcached|libmemcached|errno|SQLSTATE|constraint failed|no such (table|column)|deadlock|json-c|assert\w*|segfault)\b|(\/tmp|\/home|\/work|\/usr|\/var|\/etc)\/|\.c:\d+|0x[0-9a-f]{6,}/i;
// Codes of errors[] that say of a body or query what its schema could have said.
const STRUCTURAL = new Set(['type', 'unknown', 'choice', 'required', 'repeated', 'range', 'format']);

// A key is checked when its credential is known, a month is a text of a form, a template requires what it likes, and a provider's document is the provider's to describe.
const OWN_RULES = /^(Idempotency-Key$|Last-Event-ID$|month$|state\.|input\b|aside\b)/;
// What depends on what is stored, or on a setting: no schema could say it.
const BY_STATE = /at most 262144 bytes|must have at most \d+ terms|the newest message is|may hold at most|what it is added to|the sum is past/;

function isUtf8(bytes) {
	try {
		new TextDecoder('utf-8', { fatal: true }).decode(bytes);
		return true;
	} catch {
		return false;
	}
}

const mediaOf = (answer) => (answer.headers['content-type'] ?? '').split(';')[0];

// What nginx answers in words of its own: TRACE, and paths that leave the API for the static files. The sample makes problems of all else.
function isOfWebServer(sent, answer) {
	if (answer.headers['x-request-id'] !== undefined)
		return false;
	return sent.method === 'TRACE' ? answer.status === 405 : sent.isPathOdd && !new URL(sent.path, 'http://x').pathname.startsWith('/v1/');
}

function judgeStream(doc, answer, schema) {
	const events = answer.text.split('\n\n').filter((block) => block && !block.startsWith(':')).map((block) =>
		Object.fromEntries(block.split('\n').filter((l) => !l.startsWith(':')).map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 2)])));
	const names = events.map((e) => e.event);
	if (!['done', 'error'].includes(names.at(-1)) || names.slice(0, -1).some((n, k) => n === 'turn' ? k > 0 : !['delta', 'reset', 'step', 'tool'].includes(n)))
		return `the stream has the events ${names}`;
	const last = JSON.parse(events.at(-1).data);
	if (names.at(-1) === 'error')
		return last.status >= 500 ? `the stream ends with ${events.at(-1).data}` : null;
	let text = names[0] === 'turn' ? '' : null; // of a reader that came in the middle only the end is known
	let at = 0;
	for (const e of events.slice(0, -1)) {
		const data = JSON.parse(e.data), position = Number(e.id?.split(':')[1]);
		if (!(position >= at) && e.event !== 'reset')
			return `the position ${e.id} is behind ${at}`;
		if (e.event === 'delta' && text !== null && position !== at + Buffer.byteLength(data.text))
			return `the position ${e.id} does not count the text behind ${at}`;
		text = ['reset', 'step'].includes(e.event) ? '' : e.event === 'delta' && text !== null ? text + data.text : text;
		at = position;
	}
	if (text !== null && text !== last.result)
		return 'the deltas are not the result';
	return doc.mismatch(schema, last);
}

function judgeLines(answer) {
	const lines = answer.text.split('\n');
	try {
		lines.slice(0, -1).forEach((line) => JSON.parse(line));
	} catch (error) {
		return `a line is not JSON: ${error.message}`;
	}
	return lines.at(-1) === '' ? null : 'the last line has no end';
}

function judgeBody(doc, o, answer, documented) {
	const media = mediaOf(answer), content = documented.content?.[media];
	if (!documented.content)
		return answer.text === '' ? null : `a body where the document has none: ${answer.text.slice(0, 200)}`;
	if (!content)
		return `the content type ${media || '(none)'} is not documented for ${answer.status}`;
	if (media === 'text/event-stream')
		return judgeStream(doc, answer, documented.content['application/json']?.schema ?? { $ref: '#/components/schemas/Answer' });
	if (media === 'application/x-ndjson')
		return judgeLines(answer);
	if (!/json$/.test(media))
		return null;
	if (answer.json === undefined)
		return `the body is not JSON: ${answer.text.slice(0, 200)}`;
	const wrong = doc.mismatch(content.schema, answer.json);
	return wrong ? `the body does not fit its schema: ${wrong}` : null;
}

// Headers that mean something to a caller stand in the document where they come.
function judgeHeaders(answer, documented) {
	const unsaid = ['ETag', 'Retry-After', 'Idempotent-Replayed'].find((h) => answer.headers[h.toLowerCase()] !== undefined && !documented.headers?.[h]);
	return unsaid ? `the header ${unsaid} is not documented for ${answer.status}` : null;
}

function judgeProblem(answer) {
	const p = answer.json;
	if (p.request_id !== answer.headers['x-request-id'])
		return 'the request_id is not that of the header';
	if (p.status !== answer.status)
		return 'the status in the body is another';
	const told = JSON.stringify([p.detail, p.title, p.errors]);
	const leak = INTERNAL.exec(told);
	return leak ? `the problem tells of the inside: ${leak[0]}` : null;
}

// Whether the schema and the code agree on what was asked.
function judgeAgreement(doc, o, sent, answer) {
	if (sent.isPathOdd || sent.isQueryOdd || sent.isTypeOdd || sent.isBodyOdd || sent.method !== o.method)
		return null;
	const wrong = [];
	if (o.body && sent.body !== undefined)
		wrong.push(doc.mismatch(o.body, sent.body));
	for (const p of o.parameters.filter((x) => x.in === 'query' && x.name in sent.queryValues))
		wrong.push(doc.mismatch(p.schema, sent.queryValues[p.name]));
	const refused = wrong.find((w) => w);
	if (refused && answer.status < 300)
		return `accepted what its schema refuses: ${refused}`;
	if (refused || answer.status !== 400)
		return null;
	if (answer.json.code === 'malformed_json')
		return `a sound body was called malformed: ${answer.json.detail}`;
	const told = answer.json.errors?.find((e) => STRUCTURAL.has(e.code) && !OWN_RULES.test(e.field) && !BY_STATE.test(e.detail));
	return told ? `its schema accepts what was refused as "${told.code}": ${told.field} ${told.detail}` : null;
}

function judgeReach(o, sent, answer) {
	if (answer.text.includes(OTHER_MARK) && !['other', 'token-other'].includes(sent.who))
		return 'what is another site\'s came back';
	if (answer.text.includes(HOME_MARK) && ['other', 'token-other'].includes(sent.who) && !sent.data?.includes(HOME_MARK))
		return 'what is ours came back to another site';
	if (sent.isForeign && !['other', 'token-other'].includes(sent.who) && answer.status < 400)
		return 'an id of another site was accepted';
	if (sent.isUnauthenticated && !o.isOpen && !sent.isPathOdd && ![401, 413].includes(answer.status))
		return `${sent.who} as the credential got ${answer.status}, not 401`;
	if (sent.who === 'sk' && !sent.headers.Origin && [401, 403].includes(answer.status))
		return 'the secret key was refused';
	return null;
}

// What is wrong with an answer to the built request `sent` of operation o, or null.
export function judge(doc, o, sent, answer) {
	if (isOfWebServer(sent, answer))
		return null;
	if (answer.status >= 500)
		return `it failed on its side: ${answer.text.slice(0, 300)}`;
	if (!isUtf8(answer.bytes))
		return 'the answer is not UTF-8';
	if (answer.headers['x-request-id'] === undefined)
		return `no X-Request-Id (${answer.status})`;
	if (sent.method === 'OPTIONS')
		return [204, 404, 413].includes(answer.status) || (sent.isPathOdd && answer.status === 400) ? null : `OPTIONS got ${answer.status}`;
	const method = sent.method === 'HEAD' ? 'GET' : sent.method;
	const asked = sent.isPathOdd || method !== o.method ? doc.find(method, sent.path.split('?')[0]) : o;
	// A path that leads nowhere and a method that is not there are no operation's answers.
	if (!asked && ![404, 405].includes(answer.status) && !(sent.isPathOdd && answer.status === 400))
		return `${sent.method} ${sent.path} is not documented at all and got ${answer.status}`;
	const documented = asked?.op.responses[answer.status];
	if (asked && !documented && !(answer.status === 404 && sent.isPathOdd))
		return `the status ${answer.status} is not documented for ${asked.name}`;
	if (sent.method === 'HEAD')
		return answer.text === '' ? null : 'HEAD got a body';
	const problem = { content: { 'application/problem+json': { schema: doc.json.components.schemas.Problem } } };
	return judgeBody(doc, asked, answer, documented ?? problem) ?? (answer.status >= 400 ? judgeProblem(answer) : null) ??
		(documented ? judgeHeaders(answer, documented) : null) ??
		(asked ? judgeReach(asked, sent, answer) : null) ?? (asked === o ? judgeAgreement(doc, o, sent, answer) : null);
}
