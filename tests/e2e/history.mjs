// SPDX-License-Identifier: MIT
// history: judges what clients saw against what is stored at the end.

// `attempts`: Map of op -> {session, acks: [seq], acked: bool}; `stored`: Map of session -> messages in seq order. Returns the faults found.
export function judgeHistory(attempts, stored) {
	const faults = [];
	const seen = new Map();
	for (const [session, messages] of stored) {
		messages.forEach((message, i) => {
			if (message.seq !== i + 1)
				faults.push(`${session}: seq ${message.seq} where ${i + 1} belongs`);
			const attempt = attempts.get(message.content);
			if (!attempt)
				faults.push(`${session}: message ${message.seq} was never sent: ${message.content}`);
			else if (attempt.session !== session)
				faults.push(`${session}: message ${message.seq} was sent to ${attempt.session}`);
			if (seen.has(message.content))
				faults.push(`${session}: ${message.content} is stored twice, as ${seen.get(message.content)} and ${message.seq}`);
			seen.set(message.content, message.seq);
		});
	}
	for (const [op, attempt] of attempts)
		for (const seq of attempt.acks) {
			if (!seen.has(op))
				faults.push(`${attempt.session}: ${op} was acknowledged as ${seq} and is lost`);
			else if (seen.get(op) !== seq)
				faults.push(`${attempt.session}: ${op} was acknowledged as ${seq} and is stored as ${seen.get(op)}`);
		}
	return faults;
}

// The judge judged: histories with one fault each, which it must name, and one without.
export function judgeSelf(check) {
	const attempts = new Map([1, 2, 3].map((n) => [`op-${n}`, { session: 's', acks: [n] }]));
	const good = [1, 2, 3].map((n) => ({ seq: n, content: `op-${n}` }));
	const faults = (messages, sent = attempts) => judgeHistory(sent, new Map([['s', messages]]));
	check('a good history has no fault', faults(good).length === 0, faults(good));
	check('a lost message is found', faults(good.slice(0, 2)).some((f) => f.includes('lost')));
	check('a doubled message is found', faults([...good, { seq: 4, content: 'op-2' }]).some((f) => f.includes('twice')));
	check('a gap is found', faults([good[0], { ...good[1], seq: 5 }, good[2]]).some((f) => f.includes('belongs')));
	check('a changed seq is found', faults([good[1], good[0], good[2]].map((m, i) => ({ ...m, seq: i + 1 }))).some((f) => f.includes('stored as')));
	check('a foreign message is found', faults([...good, { seq: 4, content: 'op-9' }]).some((f) => f.includes('never sent')));
	const unknown = new Map([...attempts, ['op-4', { session: 's', acks: [] }]]);
	check('an unacknowledged message may be stored or not', faults(good, unknown).length === 0 && faults([...good, { seq: 4, content: 'op-4' }], unknown).length === 0);
}
