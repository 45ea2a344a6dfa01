import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { byteFallbackJson, byteLevelJson, tinyTokenizer, wordPieceJson } from '../../test/support/tokenizers.ts';
import { Tokenizer } from '../tokenizer/tokenizer.ts';
import { FormatError, InputError } from '../util/errors.ts';
import { Random } from '../util/random.ts';
import { compileFormat, grammarOf, type JsonSchema, type TextFormat } from './format.ts';
import { FormatSession } from './session.ts';

const ajv = new Ajv2020({ strict: false, allErrors: false });
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);

const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
function takes(format: TextFormat, bytes: Uint8Array): boolean {
  const machine = compileFormat(format);
  return machine.run(machine.start, bytes)?.complete ?? false;
}
const takesValue = (schema: JsonSchema, value: unknown) => takes({ type: 'json_schema', schema }, text(value));

/** A text that masks allow, drawn at random; it ends where it may after some tokens. */
function walk(format: TextFormat, tokenizer: Tokenizer, seed: number, patience = 12): string | null {
  const end = tokenizer.vocabSize;
  const session = new FormatSession(grammarOf(format, tokenizer), [end]);
  const random = new Random(seed);
  const tokens: number[] = [];
  for (let step = 0; step < 400 && !session.ended; step++) {
    const mask = session.mask();
    const isAllowed = (id: number) => (mask[id >>> 5] >>> (id & 31)) & 1;
    expect(Boolean(isAllowed(end))).toBe(session.complete);
    const allowed = Array.from({ length: end + 1 }, (_, id) => id).filter(isAllowed);
    // Closing ones are preferred after a while, so that walks end.
    const closing = allowed.filter((id) => id === end || /^["}\]\d]+$/.test(tokenizer.decode([id])));
    const among = step > patience && closing.length > 0 ? closing : allowed;
    const token = among[Math.floor(random.next() * among.length)];
    session.accept(token);
    if (token !== end) tokens.push(token);
  }
  return session.complete ? tokenizer.decode(tokens) : null;
}

const PERSON = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 12 },
    age: { type: 'integer', minimum: 0, maximum: 130 },
    tags: { type: 'array', items: { enum: ['a', 'b', 3, null, true] }, maxItems: 3 },
  },
  required: ['name', 'age'],
  additionalProperties: false,
};
const TREE = {
  $ref: '#/$defs/node',
  $defs: {
    node: {
      type: 'object',
      properties: { value: { type: 'number' }, children: { type: 'array', items: { $ref: '#/$defs/node' } } },
      required: ['value'],
      additionalProperties: false,
    },
  },
};
/** Schemas, values that satisfy them, and values that don't. */
const CASES: readonly (readonly [name: string, schema: JsonSchema, valid: unknown[], invalid: unknown[]])[] = [
  [
    'person',
    PERSON,
    [
      { name: 'é😀"\\\n', age: 0 },
      { name: 'x', age: 130, tags: ['a', 3, null] },
    ],
    [
      { name: '', age: 3 },
      { name: 'x', age: 131 },
      { name: 'x', age: -1 },
      { age: 1 },
      { name: 'x', age: 1, y: 1 },
      { name: 'x', age: 1.5 },
      { name: 'x', age: 1, tags: ['a', 'a', 'a', 'a'] },
    ],
  ],
  [
    'recursion',
    TREE,
    [{ value: 1 }, { value: 1e-7, children: [{ value: -2.5, children: [] }] }],
    [{}, { value: 1, children: [{}] }],
  ],
  [
    'whole numbers',
    { type: 'integer', minimum: -17, exclusiveMaximum: 4321 },
    [-17, -1, 0, 9, 10, 999, 4320],
    [-18, 4321, 10000, 1.5],
  ],
  [
    'numbers',
    { type: 'number', exclusiveMinimum: -0.5, maximum: 12.25 },
    [-0.49, 0, 0.001, 12.25, 12, 3.25159],
    [-0.5, 12.26, 12.2500001, 100, -1],
  ],
  ['multiples', { type: 'integer', multipleOf: 7, minimum: 1 }, [7, 14, 700], [0, 1, 8, 701]],
  [
    'pattern',
    { type: 'string', pattern: '^[A-Z]{2,3}-\\d+$', maxLength: 6 },
    ['AB-1', 'ABC-12'],
    ['A-1', 'ABC-123', 'AB-', 'xAB-1'],
  ],
  ['look ahead', { type: 'string', pattern: '^(?=.*\\d)(?!.*z).{3,}$' }, ['ab1', '123'], ['abc', '1z2', 'a1']],
  ['pattern in the middle', { type: 'string', pattern: 'a.c' }, ['abc', 'xxa"cyy'], ['ac', 'a\nc']],
  [
    'formats',
    {
      type: 'object',
      properties: { d: { format: 'date' }, u: { format: 'uuid' }, i: { format: 'ipv4' } },
      additionalProperties: false,
    },
    [{ d: '2024-02-29' }, { u: '123e4567-e89b-12d3-a456-426614174000' }, { i: '255.0.1.20' }],
    [{ d: '2023-02-29' }, { d: '2024-13-01' }, { u: 'x' }, { i: '256.1.1.1' }],
  ],
  [
    'anyOf',
    {
      anyOf: [
        { type: 'string', maxLength: 2 },
        { type: 'integer' },
        { type: 'array', items: { type: 'boolean' }, minItems: 1 },
      ],
    },
    ['ab', 5, [true, false]],
    ['abc', 1.5, [], [1]],
  ],
  [
    'oneOf by a constant',
    {
      oneOf: ['a', 'b'].map((kind) => ({
        type: 'object',
        properties: { kind: { const: kind }, [kind]: { type: 'integer' } },
        required: ['kind', kind],
        additionalProperties: false,
      })),
    },
    [
      { kind: 'a', a: 1 },
      { kind: 'b', b: 2 },
    ],
    [{ kind: 'a', b: 1 }, { kind: 'c' }],
  ],
  [
    'oneOf that overlaps',
    {
      type: 'object',
      properties: { a: { type: 'integer' }, b: { type: 'integer' } },
      additionalProperties: false,
      oneOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    [{ a: 1 }, { b: 1 }],
    [{}, { a: 1, b: 1 }],
  ],
  [
    'allOf',
    {
      allOf: [
        { type: 'object', properties: { a: { minimum: 3 } }, required: ['a'] },
        { properties: { a: { type: 'integer', maximum: 5 } } },
      ],
    },
    [{ a: 3 }, { a: 5, z: 'x' }],
    [{ a: 2 }, { a: 6 }, {}],
  ],
  [
    'if',
    {
      type: 'object',
      properties: { k: { enum: ['x', 'y'] }, v: {} },
      required: ['k'],
      if: { properties: { k: { const: 'x' } } },
      // biome-ignore lint/suspicious/noThenProperty: it is a keyword of JSON Schema.
      then: { required: ['v'] },
      additionalProperties: false,
    },
    [{ k: 'x', v: 1 }, { k: 'y' }],
    [{ k: 'x' }],
  ],
  ['not', { type: 'string', not: { enum: ['no', 'never'] } }, ['', 'yes', 'nope'], ['no', 'never', 3]],
  [
    'patternProperties',
    {
      type: 'object',
      properties: { id: { type: 'integer' } },
      patternProperties: { '^x-': { type: 'string' }, _n$: { type: 'number' } },
      additionalProperties: false,
    },
    [{ id: 1, 'x-a': 'b' }, { a_n: 2 }],
    [{ id: 'a' }, { 'x-a': 1 }, { y: 1 }, { 'x-a_n': 'text' }],
  ],
  [
    'others',
    {
      type: 'object',
      properties: { a: { type: 'integer' } },
      additionalProperties: { type: 'string' },
      maxProperties: 2,
    },
    [{ a: 1, b: 'x' }, { ab: 'x' }],
    [{ a: 'x' }, { a: 1, b: 'x', c: 'y' }, { b: 1 }],
  ],
  [
    'tuples',
    {
      type: 'array',
      prefixItems: [{ type: 'string' }, { type: 'integer' }],
      items: { type: 'null' },
      minItems: 2,
      maxItems: 4,
    },
    [
      ['a', 1],
      ['a', 1, null, null],
    ],
    [['a'], [1, 'a'], ['a', 1, 2], ['a', 1, null, null, null]],
  ],
  [
    'contains',
    { type: 'array', items: { type: 'integer' }, contains: { minimum: 10 }, maxItems: 3 },
    [[10], [1, 2, 30]],
    [[], [1, 2, 3], [1, 2, 3, 10]],
  ],
  [
    'dependencies',
    { type: 'object', properties: { a: {}, b: {} }, dependentRequired: { a: ['b'] }, additionalProperties: false },
    [{}, { b: 1 }, { a: 1, b: 2 }],
    [{ a: 1 }],
  ],
  [
    'minProperties',
    { type: 'object', properties: { a: {}, b: {}, c: {} }, minProperties: 2, additionalProperties: false },
    [
      { a: 1, c: 1 },
      { a: 1, b: 2, c: 3 },
    ],
    [{}, { b: 1 }],
  ],
  [
    'listed values',
    { enum: [{ a: [1, 2] }, [], 'x', 2.5, null] },
    [{ a: [1, 2] }, [], 'x', 2.5, null],
    [{ a: [1] }, 'y', 3],
  ],
  [
    'propertyNames',
    { type: 'object', propertyNames: { pattern: '^[a-z]+$', maxLength: 3 } },
    [{ abc: 1 }, {}],
    [{ abcd: 1 }, { A: 1 }],
  ],
];

describe.each(CASES)('%s', (_, schema, valid, invalid) => {
  it('takes what ajv takes', () => {
    const validate = ajv.compile(schema);
    for (const value of valid) expect([value, validate(value), takesValue(schema, value)]).toEqual([value, true, true]);
    for (const value of invalid)
      expect([value, validate(value), takesValue(schema, value)]).toEqual([value, false, false]);
  });

  it('never lets an invalid text through', () => {
    const validate = ajv.compile(schema);
    const tokenizer = tinyTokenizer();
    for (const whitespace of ['compact', 'flexible'] as const) {
      let ended = 0;
      for (let seed = 0; seed < 4; seed++) {
        const written = walk({ type: 'json_schema', schema, whitespace }, tokenizer, seed);
        if (written === null) continue;
        ended++;
        expect([written, validate(JSON.parse(written))]).toEqual([written, true]);
      }
      expect(ended).toBeGreaterThan(0);
    }
  });
});

it.each([
  ['bytes', () => Tokenizer.fromJson(byteLevelJson(), {})],
  ['pieces with bytes to fall back on', () => Tokenizer.fromJson(byteFallbackJson(), {})],
])('writes JSON with a vocabulary of %s', (_, make) => {
  const tokenizer = make();
  for (let seed = 0; seed < 20; seed++) {
    const written = walk({ type: 'json' }, tokenizer, seed, 10);
    if (written !== null) expect(() => JSON.parse(written.trim())).not.toThrow();
  }
});

it('says where a vocabulary has no token for what is needed', () => {
  const tokenizer = Tokenizer.fromJson(wordPieceJson(), {});
  const session = new FormatSession(grammarOf({ type: 'json' }, tokenizer), []);
  expect(() => session.mask()).toThrow(/no token/);
});

it('takes every JSON text, and nothing else', () => {
  for (const value of [null, 'a\u0001\u2028😀', -0.5, 1e300, [[], {}], { a: { b: [1, 'x', null] } }])
    expect(takes({ type: 'json' }, text(value))).toBe(true);
  for (const wrong of ['', '01', '1.', '"a', '[1,]', '{"a"}', '{a:1}', "'a'", 'nul', '1 2', '1e999', '"\\x"'])
    expect([wrong, takes({ type: 'json' }, new TextEncoder().encode(wrong))]).toEqual([wrong, false]);
  const bytes = (list: number[]) => takes({ type: 'json' }, Uint8Array.from([34, ...list, 34]));
  expect([bytes([0xc3, 0xa9]), bytes([0xc3]), bytes([0xed, 0xa0, 0x80]), bytes([0xc0, 0x80])]).toEqual([
    true,
    false,
    false,
    false,
  ]);
});

it('matches a regular expression as a whole', () => {
  const format: TextFormat = { type: 'regex', pattern: '(yes|no), \\p{Lu}[^a-y]{2}' };
  const taken = ['yes, Ézz', 'no, A12', 'maybe, Azz', 'yes, azz', 'yes, Aaz', 'yes, Azzz'].map((written) =>
    takes(format, new TextEncoder().encode(written)),
  );
  expect(taken).toEqual([true, true, false, false, false, false]);
  for (let seed = 0; seed < 10; seed++) {
    const written = walk({ type: 'regex', pattern: '[a-f]{3}-\\d\\d' }, tinyTokenizer(), seed);
    expect(written).toMatch(/^[a-f]{3}-\d\d$/);
  }
});

it.each<[JsonSchema, RegExp]>([
  [{ properties: { a: { type: 'array', uniqueItems: true } } }, /at \/properties\/a: the keyword uniqueItems/],
  [{ type: 'number', multipleOf: 0.1 }, /multipleOf 0.1/],
  [{ $ref: '#/$defs/x' }, /\$ref "#\/\$defs\/x" names nothing/],
  [{ $ref: 'https://example.com/s.json' }, /not within the schema/],
  [{ unevaluatedProperties: false }, /unevaluatedProperties/],
  [{ type: 'strin' }, /no type "strin"/],
  [{ pattern: '(a)\\1' }, /refers back/],
  [{ pattern: '(' }, /not closed/],
  [{ $ref: '#' }, /refers to itself/],
  [{ type: 'string', minLength: 3, maxLength: 2 }, /no value satisfies/],
  [{ type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, /no value satisfies/],
  [{ type: 'string', pattern: '^a$', minLength: 2 }, /no value satisfies/],
  [false, /no value satisfies/],
])('refuses %j by name', (schema, message) => {
  expect(() => compileFormat({ type: 'json_schema', schema })).toThrow(message);
  expect(() => compileFormat({ type: 'json_schema', schema })).toThrow(FormatError);
});

it('refuses what is no format', () => {
  const tokenizer = tinyTokenizer();
  const refuse = (format: unknown) => () => grammarOf(format as TextFormat, tokenizer);
  expect(refuse({ type: 'xml' })).toThrow(/json, json_schema, regex, text/);
  expect(refuse({ type: 'json', schema: {} })).toThrow(InputError);
  expect(refuse({ type: 'json_schema' })).toThrow(FormatError);
  expect(refuse({ type: 'object' })).toThrow(
    /but is "object"; a JSON schema is given as \{ type: 'json_schema', schema/,
  );
  expect(refuse({ type: 'regex', pattern: 'a{3,1}' })).toThrow(/from 3 to 1/);
});

it('ends with an error, not never, where a schema is built to take long', () => {
  const deep = (n: number): JsonSchema => (n === 0 ? {} : { anyOf: [deep(n - 1), deep(n - 1)] });
  const nested = JSON.parse(`${'{"items":'.repeat(500)}{}${'}'.repeat(500)}`) as JsonSchema;
  for (const schema of [
    nested,
    { allOf: Array.from({ length: 12 }, (_, i) => ({ anyOf: [{ required: [`a${i}`] }, { required: [`b${i}`] }] })) },
    { type: 'string', allOf: Array.from({ length: 12 }, (_, i) => ({ pattern: `(a|b)*a(a|b){${i + 5}}$` })) },
  ]) {
    const start = performance.now();
    try {
      compileFormat({ type: 'json_schema', schema });
    } catch (error) {
      expect(error).toBeInstanceOf(FormatError);
    }
    expect(performance.now() - start).toBeLessThan(20_000);
  }
  expect(() => compileFormat({ type: 'json_schema', schema: deep(6) })).not.toThrow();
  const machine = compileFormat({ type: 'regex', pattern: '(a+)+(b|c)*.{0,50}$' });
  expect(machine.run(machine.start, new TextEncoder().encode('a'.repeat(2_000)))).not.toBeNull();
});
