/**
 * Formats of strings: what is taken is what ajv takes.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileFormat } from '../format.ts';

const ajv = new Ajv2020();
addFormats.default(ajv);
const encoder = new TextEncoder();

function takes(format: string): (text: string) => boolean {
  const machine = compileFormat({ type: 'json_schema', schema: { type: 'string', format } });
  return (text) => machine.run(machine.start, encoder.encode(JSON.stringify(text)))?.complete ?? false;
}

describe.each(['uri', 'uri-reference'])('%s', (format) => {
  const isTaken = takes(format);
  const isValid = ajv.compile({ type: 'string', format });

  it('takes nothing that ajv refuses', () => {
    const piece = fc.constantFrom(
      'file:',
      'http:',
      '//',
      '/',
      '.',
      'a',
      'b-1',
      ':',
      ':80',
      '?',
      '#',
      '%41',
      '@',
      'é',
      '',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 9 }), (pieces) => {
        const text = pieces.join('');
        if (isTaken(text)) expect(isValid(text), text).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it.each(['file:///C:/Users/name/', 'https://example.com/a?b=c#d', 'mailto:a@example.com'])('takes %s', (text) => {
    expect(isTaken(text)).toBe(true);
  });
});

it.each(['./src', 'src/a.ts?x', '../up', '/root', '#end', '//example.com/a', 'a@b'])(
  'a uri-reference may be %s',
  (text) => {
    expect(takes('uri-reference')(text)).toBe(true);
  },
);

describe('email', () => {
  const isTaken = takes('email');

  it.each(['a@example.com', 'john.doe@example.com', 'm4.van.dijk@vu.nl', 'a.b.c.d@mail.example.co.uk'])(
    'may be %s',
    (text) => {
      expect(isTaken(text)).toBe(true);
    },
  );

  it('takes nothing that ajv refuses', () => {
    const isValid = ajv.compile({ type: 'string', format: 'email' });
    const piece = fc.constantFrom('a', 'b-1', '.', '@', '-', 'x'.repeat(20), '+', 'é', '"', ' ');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const text = pieces.join('');
        if (isTaken(text)) expect(isValid(text), text).toBe(true);
      }),
      { numRuns: 2000, examples: [[['a', '.', 'a', '@', 'b-1', '.', 'a']]] },
    );
    expect(isTaken(`${'x'.repeat(65)}@example.com`)).toBe(false);
  });
});
