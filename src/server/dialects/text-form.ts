/**
 * @file The form that a request asks its text to have: `response_format`, and the fields of vLLM and llama-server.
 */
import * as v from 'valibot';
import type { TextFormat } from '../../grammar/format.ts';
import { refuseFields } from '../fields.ts';
import { HttpError } from '../http-error.ts';

const Schema = v.union(
  [v.boolean(), v.record(v.string(), v.unknown())],
  'must be a JSON schema: an object or a boolean',
);
/** vLLM takes schemas as texts, too. */
const SchemaOrText = v.union([v.string(), Schema], 'must be a JSON schema, or its text');
const Choice = v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(1024));

const ResponseFormat = v.variant('type', [
  v.looseObject({ type: v.literal('text') }),
  // The schema is llama-server's.
  v.looseObject({ type: v.literal('json_object'), schema: v.nullish(Schema) }),
  v.looseObject({ type: v.literal('json_schema'), json_schema: v.looseObject({ schema: Schema }) }),
  // No part of OpenAI's protocol.
  v.looseObject({ type: v.literal('regex'), pattern: v.string() }),
]);

/** Fields that say a form. One of them may be given. */
export const FORM_FIELDS = {
  response_format: v.nullish(ResponseFormat),
  structured_outputs: v.nullish(
    v.looseObject({
      json: v.nullish(SchemaOrText),
      regex: v.nullish(v.string()),
      choice: v.nullish(Choice),
      json_object: v.nullish(v.boolean()),
    }),
  ),
  // Names of vLLM before structured_outputs …
  guided_json: v.nullish(SchemaOrText),
  guided_regex: v.nullish(v.string()),
  guided_choice: v.nullish(Choice),
  // … and of llama-server.
  json_schema: v.nullish(Schema),
} as const;

const NO_GRAMMAR = 'grammars in EBNF or GBNF are not supported; use json, regex or choice';
const NO_PATTERN = 'white space of JSON is at most one space after a comma or a colon';
const REFUSED = {
  grammar: 'grammars in EBNF or GBNF are not supported; use response_format, of the type json_schema or regex',
  guided_grammar: NO_GRAMMAR,
  guided_whitespace_pattern: NO_PATTERN,
};
const REFUSED_INSIDE = {
  grammar: NO_GRAMMAR,
  structural_tag: 'structural tags are not supported; tools of which strict is true are enforced',
  whitespace_pattern: NO_PATTERN,
  disable_additional_properties: 'say additionalProperties in the schema',
};

/** A form, and the field that says it. */
export interface AskedForm {
  readonly field: string;
  readonly format: TextFormat;
}

type Body = Readonly<v.InferOutput<v.ObjectSchema<typeof FORM_FIELDS, undefined>> & Record<string, unknown>>;

/**
 * The form of a body's text; null: any.
 * @throws HttpError 400 for forms that are not supported, and for more than one.
 */
export function formOf(body: Body): AskedForm | null {
  const { response_format: format, structured_outputs: outputs } = body;
  refuseFields(body, REFUSED);
  if (outputs) refuseFields(outputs, REFUSED_INSIDE, 'structured_outputs.');
  const all: AskedForm[] = [];
  const add = <T>(field: string, value: T | null | undefined, form: (value: T, path: string) => TextFormat | null) => {
    const made = value === null || value === undefined ? null : form(value, field);
    if (made) all.push({ field, format: made });
  };
  add('response_format', format, responseForm);
  add('structured_outputs.json', outputs?.json, schemaForm);
  add('structured_outputs.regex', outputs?.regex, patternForm);
  add('structured_outputs.choice', outputs?.choice, choiceForm);
  add('structured_outputs.json_object', outputs?.json_object || null, anyObject);
  add('guided_json', body.guided_json, schemaForm);
  add('guided_regex', body.guided_regex, patternForm);
  add('guided_choice', body.guided_choice, choiceForm);
  add('json_schema', body.json_schema, schemaForm);
  if (all.length > 1)
    throw new HttpError(400, `${all[1].field}: a text has one form, and ${all[0].field} is given, too`, {
      param: all[1].field,
    });
  return all[0] ?? null;
}

const patternForm = (pattern: string): TextFormat => ({ type: 'regex', pattern });
const choiceForm = (texts: readonly string[]): TextFormat => ({
  type: 'choice',
  of: texts.map((text) => ({ type: 'text', text })),
});
const anyObject = (): TextFormat => ({ type: 'json_schema', schema: { type: 'object' } });

function responseForm(format: v.InferOutput<typeof ResponseFormat>): TextFormat | null {
  switch (format.type) {
    case 'json_object':
      return format.schema === null || format.schema === undefined
        ? anyObject()
        : { type: 'json_schema', schema: format.schema };
    case 'json_schema':
      return { type: 'json_schema', schema: format.json_schema.schema };
    case 'regex':
      return patternForm(format.pattern);
    case 'text':
      return null;
  }
}

function schemaForm(given: v.InferOutput<typeof SchemaOrText>, path: string): TextFormat {
  if (typeof given !== 'string') return { type: 'json_schema', schema: given };
  let schema: unknown;
  try {
    schema = JSON.parse(given);
  } catch (error) {
    throw new HttpError(400, `${path} is no JSON: ${(error as Error).message.slice(0, 200)}`, { param: path });
  }
  if (!v.is(Schema, schema)) throw new HttpError(400, `${path} must be a JSON schema`, { param: path });
  return { type: 'json_schema', schema };
}
