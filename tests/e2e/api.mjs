// SPDX-License-Identifier: MIT
// api: one HTTP request as a promise, and checks that print TAP.
import http from 'node:http';

const kept = new http.Agent({ keepAlive: true, maxSockets: 256 });
const fresh = new http.Agent({ keepAlive: false, maxSockets: 256 });

// Sends one request and resolves with {status, headers, bytes, text, json}. `onData` sees each piece as it arrives.
export function request(method, path, { url = process.env.URL, key, body, headers = {}, keep = true, timeout = 30000, onData } = {}) {
	const sent = { ...headers };
	if (key)
		sent.Authorization = `Bearer ${key}`;
	let data;
	if (body !== undefined) {
		data = typeof body === 'string' || Buffer.isBuffer(body) ? Buffer.from(body) : Buffer.from(JSON.stringify(body));
		sent['Content-Type'] ??= 'application/json';
		if (sent['Transfer-Encoding'] === undefined)
			sent['Content-Length'] = data.length;
	}
	return new Promise((resolve, reject) => {
		const rq = http.request(url + path, { method, headers: sent, agent: keep ? kept : fresh, timeout }, (rs) => {
			const pieces = [];
			rs.on('data', (piece) => {
				pieces.push(piece);
				onData?.(piece.toString());
			});
			rs.on('aborted', () => reject(new Error('the answer broke off')));
			rs.on('error', reject);
			rs.on('end', () => {
				const bytes = Buffer.concat(pieces), text = bytes.toString();
				let json;
				try {
					json = JSON.parse(text);
				} catch {
					json = undefined;
				}
				resolve({ status: rs.statusCode, headers: rs.headers, bytes, text, json });
			});
		});
		rq.on('timeout', () => rq.destroy(new Error('no answer in time')));
		rq.on('error', reject);
		rq.end(data);
	});
}

let failed = 0;

export function check(what, holds, seen) {
	console.log(`${holds ? 'ok' : 'not ok'} - ${what}`);
	if (!holds) {
		failed++;
		if (seen !== undefined)
			console.log(`# seen: ${typeof seen === 'string' ? seen : JSON.stringify(seen)}`.slice(0, 600));
	}
	return holds;
}

// Runs a step whose failure to run at all is a failed check.
export async function step(what, fn) {
	try {
		await fn();
	} catch (error) {
		check(what, false, String(error.stack ?? error));
	}
}

export function finish() {
	process.exitCode = failed ? 1 : 0;
	kept.destroy();
	fresh.destroy();
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
