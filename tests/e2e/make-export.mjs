// SPDX-License-Identifier: MIT
// make-export: the lines of an export, without the header: SESSIONS sessions with a branch each, MESSAGES messages in all.
import { randomBytes } from "node:crypto";
import { once } from "node:events";

const sessions = Number(process.argv[2]), messages = Number(process.argv[3]);
const letters = "0123456789abcdefghjkmnpqrstvwxyz";
const began = 1767323045678;

function ident(prefix, time, seq) {
	const bytes = randomBytes(16);
	bytes.writeUIntBE(time, 0, 6);
	bytes[6] = 0x70 | (bytes[6] & 15);
	bytes[8] = 0x80 | (bytes[8] & 63);
	if (seq !== undefined) {
		bytes.writeUInt32BE(seq, 8);
		bytes[8] |= 0x80;
	}
	let value = BigInt("0x" + bytes.toString("hex")), text = "";
	for (let i = 0; i < 26; i++, value >>= 5n)
		text = letters[Number(value & 31n)] + text;
	return prefix + text;
}

async function add(line) {
	if (!process.stdout.write(JSON.stringify(line) + "\n"))
		await once(process.stdout, "drain");
}

await add({ type: "agent", name: "moved", title: "Moved", instructions: "Be \"brief\".", provider: "echo", model: "", language: "en", temperature: 0.7,
	max_output_tokens: 0, version: 3, created_at: began, updated_at: began + 1 });
for (let s = 0; s < sessions; s++) {
	const at = began + s * 1000, root = ident("cnv_", at), branch = ident("cnv_", at + 5);
	const per = Math.floor(messages / sessions), of_branch = Math.min(10, per >> 1), of_root = per - of_branch;
	await add({ type: "session", ...(s % 2 ? { own_id: `own-${s}` } : { id: ident("ses_", at) }), name: `web_u${s % 7}_move_${s}`, agent: "moved",
		agent_name: "moved", user: `u${s % 7}`, client_type: "web", context: "move", title: "Ünï \u{1f600}", status: s % 3 ? "active" : "ended",
		tags: ["a", `t${s % 5}`], metadata: { k: "v" }, state: { n: s }, config: {}, conversation: s % 4 ? root : branch, website_domain: "shop.example",
		ip_address: "203.0.113.9", version: 2, created_at: at, updated_at: at + 1, active_at: at + 2, ended_at: s % 3 ? 0 : at + 3, expires_at: 0, idle_ttl: 0 });
	await add({ type: "conversation", id: root, parent: null, base_seq: 0, title: "", created_at: at });
	await add({ type: "conversation", id: branch, parent: root, base_seq: of_root, title: "another way", created_at: at + 5 });
	for (let seq = 1; seq <= per; seq++)
		await add({ type: "message", conversation: seq <= of_root ? root : branch, seq, id: ident("msg_", at + seq, seq), role: seq % 2 ? "user" : "assistant",
			content: seq % 97 ? `Message ${seq} of ${s}: could you find us a table for two near the window, at about eight?` :
				[{ type: "text", text: "long ".repeat(400) }], created_at: at + seq });
}
