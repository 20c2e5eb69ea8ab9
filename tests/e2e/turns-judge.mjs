// SPDX-License-Identifier: MIT
// turns-judge: says what is wrong with a history of turns that were asked for with a key, cut, killed, asked for again and watched.
//
// Excused is a second completed call when a process was killed between the provider's last byte and the commit: that the work was done was then known to
// nobody. A kill explains a call that completed while it was under way or at most WINDOW ms before it was sent; all together no more than chance brings.
const WINDOW = 100;

// The stub's answer to these words, as its call of that number gives it.
export function callText(say, number, tokens) {
	const mark = `#${number}`;
	let text = say + mark;
	for (let i = 1; i < tokens; i++)
		text += (i % 8 === 7 ? ` é世🌍${i}` : ` t${i}`) + mark;
	return text;
}

export const textOf = (message) => (typeof message.content === 'string' ? message.content :
	(message.content ?? []).filter((p) => p.type === 'text').map((p) => p.text).join(''));

// records: {key, session, say, replies: [answers], viewers: [{text, turn, done, error}]}; stored: session -> its messages; stuck: words about leases;
// calls: what the stub saw; kills: {sent, gone}; tokens: of one answer. Returns faults ({kind, what}) and the excused.
export function judge({ records, stored, stuck, calls, kills, tokens }) {
	const faults = stuck.map((what) => ({ kind: 'leases', what }));
	const excused = [];
	const fault = (kind, record, what) => faults.push({ kind, what: `${record.key}: ${what}` });

	for (const [session, messages] of stored)
		messages.forEach((m, i) => m.seq === i + 1 || faults.push({ kind: 'answers', what: `${session}: seq ${m.seq} where ${i + 1} belongs` }));
	for (const record of records) {
		const messages = stored.get(record.session) ?? [];
		const answer = judgeAnswers(record, messages, calls.filter((c) => c.text === record.say), tokens, fault);
		judgeCalls(record, calls.filter((c) => c.text === record.say), kills, excused, fault);
		if (answer)
			judgeViewers(record, answer, fault);
	}
	const cut = calls.filter((c) => c.end === 'aborted').length;
	if (excused.length > 2 + cut / 10) // the window is a small part of a call, and kills come at any time
		faults.push({ kind: 'calls', what: `${excused.length} calls are excused where kills cut ${cut}` });
	return { faults, excused };
}

function judgeAnswers(record, messages, calls, tokens, fault) {
	const asked = messages.filter((m) => m.role === 'user' && textOf(m) === record.say);
	const answers = messages.filter((m) => m.role === 'assistant' && textOf(m).startsWith(`${record.say}#`));
	if (asked.length !== 1)
		fault('answers', record, `its message is stored ${asked.length} times`);
	if (answers.length !== 1)
		fault('answers', record, `${answers.length} answers are stored`);
	if (answers.length === 0)
		return null;
	const answer = answers[0], text = textOf(answer);
	if (asked.length && answer.seq < asked[0].seq)
		fault('answers', record, 'the answer stands before what it answers');
	if (!calls.some((c) => c.end === 'completed' && callText(record.say, c.number, tokens) === text))
		fault('answers', record, `the stored text is not that of a completed call: ${text}`);
	if (answer.incomplete)
		fault('answers', record, 'the answer is marked as incomplete');
	for (const reply of record.replies)
		if (reply.message?.id !== answer.id || reply.result !== text || reply.turn_id !== answer.turn_id || reply.success !== true)
			fault('answers', record, `${reply.turn_id} with ${reply.message?.id} was answered, stored are ${answer.turn_id} and ${answer.id}`);
	return answer;
}

function judgeCalls(record, calls, kills, excused, fault) {
	const completed = calls.filter((c) => c.end === 'completed').sort((a, b) => a.ended_ms - b.ended_ms);
	if (completed.length === 0)
		fault('calls', record, 'no call of the provider completed');
	for (const call of completed.slice(0, -1)) {
		const kill = kills.find((k) => k.gone >= call.ended_ms && k.sent <= call.ended_ms + WINDOW);
		if (kill)
			excused.push(`${record.key}: call ${call.number} completed ${(kill.sent - call.ended_ms).toFixed(1)} ms before a kill`);
		else
			fault('calls', record, `call ${call.number} completed, and another one after it`);
	}
}

// A viewer that was told `done` has seen the stored text; a failed turn's viewers saw nothing that was not said in one call.
function judgeViewers(record, answer, fault) {
	const text = textOf(answer);
	for (const viewer of record.viewers) {
		if (viewer.done && viewer.done.result !== text)
			fault('viewers', record, `done says ${viewer.done.result}`);
		else if (viewer.done && viewer.text !== text)
			fault('viewers', record, `a viewer (${viewer.resumed} connections) saw ${viewer.text} and not ${text}`);
		else if (viewer.isRefused)
			fault('viewers', record, `a follower is ${viewer.error.code}`);
		else if (viewer.resumed && !viewer.done && !viewer.error)
			fault('viewers', record, `a follower of ${viewer.turn} never saw an end`);
		const marks = new Set(viewer.text.match(/#\d+/g));
		if (!viewer.done && marks.size > 1)
			fault('viewers', record, `a viewer saw pieces of ${marks.size} calls: ${viewer.text}`);
	}
}

// ---- the judge judged ----

const TOKENS = 9;

// A history in which all is well: a turn that was cut by a kill and answered at the second try, watched by two.
function history() {
	const text = callText('say', 1, TOKENS);
	const reply = { turn_id: 'trn_2', result: text, success: true, message: { id: 'msg_2' } };
	return {
		records: [{ key: 'k', session: 's', say: 'say', replies: [reply, { ...reply }], viewers: [
			{ text: callText('say', 0, 4), turn: 'trn_1', done: null, error: { code: 'turn_failed' }, resumed: 1 },
			{ text, turn: 'trn_2', done: reply, error: null, resumed: 2 } ] }],
		stored: new Map([['s', [{ seq: 1, role: 'user', content: 'say' }, { seq: 2, role: 'assistant', id: 'msg_2', turn_id: 'trn_2', content: text }]]]),
		stuck: [],
		calls: [{ number: 0, text: 'say', end: 'aborted', ended_ms: 500 }, { number: 1, text: 'say', end: 'completed', ended_ms: 2000 }],
		kills: [{ sent: 498, gone: 501 }],
		tokens: TOKENS,
	};
}

export function judgeSelf(check) {
	const tells = (what, kind, change, words) => {
		const h = history();
		change(h);
		const { faults } = judge(h);
		check(`the judge finds ${what}`, faults.some((f) => f.kind === kind && f.what.includes(words)), faults);
	};
	const second = (ended_ms) => (h) => h.calls.push({ number: 2, text: 'say', end: 'completed', ended_ms });
	const good = judge(history());
	check('the judge accepts a history in which all is well', good.faults.length === 0 && good.excused.length === 0, good);
	tells('a second answer', 'answers', (h) => h.stored.get('s').push({ ...h.stored.get('s')[1], seq: 3, id: 'msg_3', turn_id: 'trn_3' }), '2 answers');
	tells('a lost answer', 'answers', (h) => h.stored.get('s').pop(), '0 answers');
	tells("a user's message stored twice", 'answers', (h) => h.stored.get('s').push({ ...h.stored.get('s')[0], seq: 3 }), 'stored 2 times');
	tells('a gap', 'answers', (h) => (h.stored.get('s')[1].seq = 3), 'seq 3');
	tells('an answer that is cut short', 'answers', (h) => (h.stored.get('s')[1].content = callText('say', 1, TOKENS - 1)), 'not that of a completed call');
	tells('an answer of two calls', 'answers', (h) => (h.stored.get('s')[1].content = callText('say', 1, TOKENS).replace('t3#1', 't3#0')), 'not that of a completed call');
	tells('a replay with another answer', 'answers', (h) => (h.records[0].replies[1].message = { id: 'msg_9' }), 'msg_9');
	tells('a second completed call', 'calls', second(3000), 'another one after it');
	tells('one that a kill long after does not explain', 'calls', (h) => (second(3000)(h), h.kills.push({ sent: 2000 + WINDOW + 1, gone: 2200 })), 'another one after it');
	tells('one that a kill before does not explain', 'calls', (h) => (second(3000)(h), h.kills.push({ sent: 1990, gone: 1999 })), 'another one after it');
	tells('more of them than chance brings', 'calls', (h) => {
		for (let i = 0; i < 3; i++)
			second(2100 + 100 * i)(h);
		h.kills.push({ sent: 2001, gone: 2400 });
	}, 'are excused');
	tells('a key that no call was made for', 'calls', (h) => h.calls.pop(), 'no call');
	tells('a lost delta', 'viewers', (h) => (h.records[0].viewers[1].text = h.records[0].viewers[1].text.replace(' t3#1', '')), 'and not');
	tells('a doubled delta', 'viewers', (h) => (h.records[0].viewers[1].text = h.records[0].viewers[1].text.replace(' t3#1', ' t3#1 t3#1')), 'and not');
	tells('a takeover without reset', 'viewers', (h) => (h.records[0].viewers[0].text += callText('say', 1, 3)), 'pieces of 2 calls');
	tells('a follower that is left alone', 'viewers', (h) => (h.records[0].viewers[1].done = null), 'never saw an end');
	tells('a stuck lease', 'leases', (h) => h.stuck.push('s: 409'), '409');
	const h = history();
	second(3000)(h);
	h.kills.push({ sent: 2040, gone: 2044 });
	const { faults, excused } = judge(h);
	check('a kill between the last byte and the commit is excused, and counted', faults.length === 0 && excused.length === 1, { faults, excused });
}
