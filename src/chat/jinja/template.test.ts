import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JinjaError } from './errors.ts';
import { strftime } from './strftime.ts';
import { Template } from './template.ts';

interface Case {
  readonly template: string;
  readonly vars: Readonly<Record<string, unknown>>;
}
const folder = join(import.meta.dirname, '../../../test/fixtures/jinja');
const read = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));
const CASES: readonly Case[] = read('cases.json');
/** Made by render.py beside it, with Python's jinja2. */
const EXPECTED: readonly ({ readonly ok: string } | { readonly err: string })[] = read('expected.json');
const now = { strftime_now: (format: string) => strftime(new Date(2026, 0, 2, 15, 4, 5), format) };
const render = (template: string, variables: Readonly<Record<string, unknown>> = {}) =>
  new Template(template).render({ ...now, ...variables });

describe('templates', () => {
  it('give the same texts and refusals as jinja2', () => {
    expect(CASES.length).toBe(EXPECTED.length);
    CASES.forEach(({ template, vars }, i) => {
      const expected = EXPECTED[i];
      if ('ok' in expected) expect(render(template, vars), template).toBe(expected.ok);
      else expect(() => render(template, vars), template).toThrow(JinjaError);
    });
  });

  it('say in which line they can not be read', () => {
    expect(() => new Template('a\n{% if x %}\n{{ y z }}{% endif %}')).toThrow(/^line 3: .*'z'/);
    expect(() => new Template('a\n{% if x %}')).toThrow(/line 2: {% endif %} is expected/);
    expect(() => new Template("{% include 'x' %}")).toThrow(/needs other templates/);
    expect(() => render('{{ x | random }}')).toThrow(/No filter named 'random'/);
  });

  it('do not change what they are given', () => {
    const messages = [{ role: 'user', content: 'x', list: [1] }];
    const copy = structuredClone(messages);
    expect(() => render('{{ messages[0].list.append(2) }}', { messages })).toThrow(/SecurityError/);
    expect(messages).toEqual(copy);
  });

  it('go through what a filter gives once, as Python', () => {
    expect(render("{% set m = [1, 2] | map('string') %}{{ m | join }}|{{ m | join }}")).toBe('12|');
    expect(render('{% if [] | select %}true{% endif %}')).toBe('true');
  });
});

describe('limits', () => {
  const many = '{% for a in range(10000) %}';
  it.each([
    ['loops in loops', `${many.repeat(3)}${'{% endfor %}'.repeat(3)}`, /steps/],
    [
      'macros that branch',
      '{% macro f(n) %}{% if n > 0 %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}',
      /steps/,
    ],
    ['macros without an end', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', /200 deep/],
    ['texts that double', `{% set x = 'ab' %}${'{% set x = x ~ x %}'.repeat(60)}{{ x }}`, /characters/],
    ['long products', "{{ 'a' * 1000000000 }}", /characters/],
    ['lists that double', `{% set x = [1] %}${'{% set x = x + x %}'.repeat(60)}`, /steps/],
    ['wide fields', "{{ '%999999999d' % 1 }}", /too wide/],
    ['deep expressions', `{{ ${'('.repeat(5000)}1${')'.repeat(5000)} }}`, /200 deep/],
    ['deep blocks', `${'{% if true %}'.repeat(5000)}${'{% endif %}'.repeat(5000)}`, /200 deep/],
    ['deep values', `{% set x = [] %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}`, /./],
    ['a long range', '{{ range(100001) | list }}', /limited/],
    ['a wide indent', "{{ 'a\nb' | indent(100000000) }}", /characters/],
  ])(
    'end %s',
    (_, template, message) => {
      const start = performance.now();
      expect(() => render(template)).toThrow(JinjaError);
      expect(() => render(template)).toThrow(message);
      expect(performance.now() - start).toBeLessThan(30_000);
    },
    60_000,
  );

  it('leave room for long conversations', () => {
    const messages = Array.from({ length: 2000 }, (_, i) => ({
      role: i % 2 ? 'assistant' : 'user',
      content: 'x'.repeat(2000),
    }));
    const template = `{% for m in messages %}{% for n in messages[loop.index0:loop.index0 + 5] %}{% if n.role == 'tool' %}t{% endif %}{% endfor %}<|{{ m.role }}|>{{ m['content'] | trim }}{% endfor %}`;
    expect(render(template, { messages }).length).toBeGreaterThan(4_000_000);
  });
});

/** Pieces of the language, for templates that are almost right. */
const WORDS = [
  '{%',
  '%}',
  '{{',
  '}}',
  '{#',
  '#}',
  '-',
  'if',
  'for',
  'in',
  'set',
  'macro',
  'endif',
  'endfor',
  'else',
  'not',
  'is',
  'x',
  'd',
  'l',
  "'a'",
  '1',
  '2.5',
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  '.',
  ',',
  ':',
  '|',
  '=',
  '==',
  '+',
  '*',
  '**',
  '~',
  '%',
  'join',
  'length',
  'defined',
  'map',
  'loop',
  'none',
  ' ',
  '\n',
  'namespace',
  'range',
  'items',
  'raw',
  'endraw',
  'indent',
  'tojson',
  'format',
];

it('templates of any pieces end in a text or in an error of their own', () => {
  const piece = fc.oneof(fc.constantFrom(...WORDS), fc.constantFrom(...WORDS), fc.string({ maxLength: 3 }));
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }),
      fc.integer({ min: 0, max: CASES.length - 1 }),
      fc.nat(),
      (pieces, n, at) => {
        const { template, vars } = CASES[n];
        const start = at % (template.length + 1);
        for (const text of [
          pieces.join(''),
          template.slice(0, start) + pieces.slice(0, 3).join(' ') + template.slice(start + (at % 7)),
        ])
          try {
            expect(typeof new Template(text).render(vars, { steps: 100_000, text: 1_000_000, depth: 50 })).toBe(
              'string',
            );
          } catch (error) {
            expect(error, text).toBeInstanceOf(JinjaError);
          }
      },
    ),
    { numRuns: 2000 },
  );
});
