import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { readBody } from '../fields.ts';
import { HttpError } from '../http-error.ts';
import { FORM_FIELDS, formOf } from './text-form.ts';

const Body = v.looseObject(FORM_FIELDS);
const read = (body: object) => formOf(readBody(Body, body));
const schema = { type: 'object', properties: { a: { type: 'integer' } } };
const OBJECT = { type: 'json_schema', schema: { type: 'object' } };

describe('the form of a text', () => {
  it.each([
    [{}, null],
    [{ response_format: { type: 'text' } }, null],
    [{ response_format: null, structured_outputs: null, grammar: '' }, null],
    [{ structured_outputs: { json_object: false, disable_any_whitespace: true } }, null],
    [{ response_format: { type: 'json_object' } }, ['response_format', OBJECT]],
    [{ response_format: { type: 'json_object', schema } }, ['response_format', { type: 'json_schema', schema }]],
    [{ response_format: { type: 'regex', pattern: 'a+' } }, ['response_format', { type: 'regex', pattern: 'a+' }]],
    [{ structured_outputs: { json: schema } }, ['structured_outputs.json', { type: 'json_schema', schema }]],
    [
      { structured_outputs: { json: JSON.stringify(schema) } },
      ['structured_outputs.json', { type: 'json_schema', schema }],
    ],
    [{ structured_outputs: { regex: 'a+' } }, ['structured_outputs.regex', { type: 'regex', pattern: 'a+' }]],
    [
      { structured_outputs: { choice: ['yes', 'no'] } },
      [
        'structured_outputs.choice',
        {
          type: 'choice',
          of: [
            { type: 'text', text: 'yes' },
            { type: 'text', text: 'no' },
          ],
        },
      ],
    ],
    [{ structured_outputs: { json_object: true } }, ['structured_outputs.json_object', OBJECT]],
    [{ guided_regex: 'a+' }, ['guided_regex', { type: 'regex', pattern: 'a+' }]],
    [{ guided_json: true }, ['guided_json', { type: 'json_schema', schema: true }]],
    [{ json_schema: schema, response_format: { type: 'text' } }, ['json_schema', { type: 'json_schema', schema }]],
  ])('%j', (body, expected) => {
    expect(read(body)).toEqual(expected && { field: expected[0], format: expected[1] });
  });

  it.each([
    [{ structured_outputs: { grammar: 'root ::= "a"' } }, 'structured_outputs.grammar'],
    [{ structured_outputs: { structural_tag: {} } }, 'structured_outputs.structural_tag'],
    [{ structured_outputs: { whitespace_pattern: ' ' } }, 'structured_outputs.whitespace_pattern'],
    [{ structured_outputs: { json: '{' } }, 'structured_outputs.json'],
    [{ structured_outputs: { json: '5' } }, 'structured_outputs.json'],
    [{ structured_outputs: { choice: [] } }, 'structured_outputs.choice'],
    [{ structured_outputs: { choice: 'yes' } }, 'structured_outputs.choice'],
    [{ structured_outputs: { regex: 'a', choice: ['a'] } }, 'structured_outputs.choice'],
    [{ response_format: { type: 'json_object' }, guided_regex: 'a' }, 'guided_regex'],
    [{ response_format: { type: 'json_schema' } }, 'response_format.json_schema'],
    [{ response_format: { type: 'xml' } }, 'response_format.type'],
    [{ guided_grammar: 'root ::= "a"' }, 'guided_grammar'],
    [{ grammar: 'root ::= "a"' }, 'grammar'],
    [{ json_schema: 5 }, 'json_schema'],
  ])('%j is refused by name', (body, param) => {
    let error: unknown;
    try {
      read(body);
    } catch (cause) {
      error = cause;
    }
    expect(error).toBeInstanceOf(HttpError);
    expect((error as HttpError).param).toBe(param);
    expect((error as HttpError).message).toContain(param);
  });
});
