import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeTexts, findTexts } from './texts.ts';

function found(texts: readonly Uint8Array[]): string[] {
  const gap = 8;
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + gap + text.length, 0));
  const starts = new Float64Array(texts.length);
  let at = 0;
  texts.forEach((text, i) => {
    starts[i] = at += gap;
    bytes.set(text, at);
    at += text.length;
  });
  return decodeTexts(
    bytes,
    starts,
    Uint32Array.from(texts, ({ length }) => length),
  );
}
const one = (text: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(text);

it('decodes as the decoder does each by itself', () => {
  const utf8 = fc.string({ unit: 'binary', maxLength: 6 }).map((text) => new TextEncoder().encode(text));
  const any = fc.uint8Array({ maxLength: 5 });
  fc.assert(
    fc.property(fc.oneof(fc.array(utf8), fc.array(fc.oneof(utf8, any))), (texts) => {
      expect(found(texts)).toEqual(texts.map(one));
    }),
    { numRuns: 500 },
  );
});

it('does not let a character reach from one text into the next', () => {
  const [a, b] = [new Uint8Array([0x61, 0xe2, 0x82]), new Uint8Array([0xac, 0x62])];
  expect(found([a, b])).toEqual([one(a), one(b)]);
});

describe('finding texts', () => {
  it('gives the first index of each that is there', () => {
    const texts = ['', 'a', '<x>', 'ü<x>', '<y>', '<x>', '<xy>'];
    const encoded = texts.map((text) => new TextEncoder().encode(text));
    const lengths = Uint32Array.from(encoded, ({ length }) => length);
    const starts = Float64Array.from(encoded, (_, i) => lengths.subarray(0, i).reduce((sum, n) => sum + n, 0));
    const bytes = Uint8Array.from(encoded.flatMap((text) => [...text]));
    const found = findTexts(bytes, starts, lengths, ['<x>', '<y>', '<z>', '', 'ü<x>']);
    expect([...found]).toEqual([
      ['<x>', 2],
      ['ü<x>', 3],
      ['<y>', 4],
    ]);
  });
});
