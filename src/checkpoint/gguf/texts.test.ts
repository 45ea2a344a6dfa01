import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packedTexts } from '../../../test/support/packed-texts.ts';
import { decodeTexts, findTexts, packedAlone } from './texts.ts';

const one = (text: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(text);

it('decodes as the decoder does each by itself', () => {
  const utf8 = fc.string({ unit: 'binary', maxLength: 6 }).map((text) => new TextEncoder().encode(text));
  const any = fc.uint8Array({ maxLength: 5 });
  fc.assert(
    fc.property(fc.oneof(fc.array(utf8), fc.array(fc.oneof(utf8, any))), (texts) => {
      expect(decodeTexts(packedTexts(texts))).toEqual(texts.map(one));
    }),
    { numRuns: 500 },
  );
});

it('does not let a character reach from one text into the next', () => {
  const [a, b] = [new Uint8Array([0x61, 0xe2, 0x82]), new Uint8Array([0xac, 0x62])];
  expect(decodeTexts(packedTexts([a, b]))).toEqual([one(a), one(b)]);
});

describe('finding texts', () => {
  it('gives the first index of each that is there', () => {
    const texts = packedTexts(['', 'a', '<x>', 'ü<x>', '<y>', '<x>', '<xy>']);
    const found = findTexts(texts, ['<x>', '<y>', '<z>', '', 'ü<x>']);
    expect([...found]).toEqual([
      ['<x>', 2],
      ['ü<x>', 3],
      ['<y>', 4],
    ]);
  });
});

it('are the same in memory of their own', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 6 })), (texts) => {
      const packed = packedTexts(texts);
      const alone = packedAlone(packed);
      expect(decodeTexts(alone)).toEqual(texts);
      expect(alone.bytes.buffer).not.toBe(packed.bytes.buffer);
    }),
  );
});
