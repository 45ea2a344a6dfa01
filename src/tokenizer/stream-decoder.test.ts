import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  byteFallbackJson,
  byteLevelJson,
  type Json,
  tinyTokenizer,
  tokenizerKinds,
} from '../../test/support/tokenizers.ts';
import { InputError } from '../util/errors.ts';
import { StreamDecoder } from './stream-decoder.ts';
import { Tokenizer } from './tokenizer.ts';

function stream(tokenizer: Tokenizer, ids: readonly number[], skipSpecialTokens = true): string[] {
  const decoder = new StreamDecoder(tokenizer, { skipSpecialTokens });
  return [...ids.map((id) => decoder.push(id)), decoder.flush()];
}

/** Half of a surrogate pair without the other. */
const HALF = /\p{Surrogate}/u;

const kinds = Object.entries(tokenizerKinds()).map(([kind, json]) => [kind, Tokenizer.fromJson(json, {})] as const);
const byteLevel = Tokenizer.fromJson(byteLevelJson(), {});
const byteFallback = Tokenizer.fromJson(byteFallbackJson(), {});

describe.each(kinds)('with the tokenizer %s', (_, tokenizer) => {
  const anyId = fc.nat(tokenizer.vocabSize - 1);
  /** Few different ids, so that runs and repetitions are common. */
  const fewIds = fc
    .array(anyId, { minLength: 1, maxLength: 4 })
    .chain((some) => fc.array(fc.constantFrom(...some), { maxLength: 150 }));

  it('pieces make the text, for any ids', () => {
    fc.assert(
      fc.property(fc.oneof(fc.array(anyId, { maxLength: 150 }), fewIds), fc.boolean(), (ids, skipSpecialTokens) => {
        const pieces = stream(tokenizer, ids, skipSpecialTokens);
        expect(pieces.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
        for (const piece of pieces) expect(piece).not.toMatch(HALF);
      }),
      { numRuns: 150 },
    );
  });

  it('pieces make the text, for ids of texts', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const ids = tokenizer.encode(text);
        expect(stream(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
      }),
      { numRuns: 50 },
    );
  });

  it('all text but half a character is given at once', () => {
    fc.assert(
      fc.property(fc.array(anyId, { maxLength: 60 }), (ids) => {
        const decoder = new StreamDecoder(tokenizer);
        let given = '';
        ids.forEach((id, i) => {
          given += decoder.push(id);
          const text = tokenizer.decode(ids.slice(0, i + 1));
          expect(given).toBe(text.endsWith('\ufffd') ? text.slice(0, -1) : text);
        });
      }),
      { numRuns: 50 },
    );
  });
});

/** The bytes of a text as ids of the tokenizer. */
const bytesOf = (text: string): number[] => [...new TextEncoder().encode(text)];
/** byteFallbackJson has three tokens before its bytes. */
const fallbackBytesOf = (text: string): number[] => bytesOf(text).map((byte) => byte + 3);

describe('a text that goes on', () => {
  it('keeps the space that its first token would lose at a beginning', () => {
    const tokenizer = Tokenizer.fromJson(byteFallbackJson(), {});
    const ids = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
    const decoder = new StreamDecoder(tokenizer);
    const whole = ids('the sea is wide');
    for (const start of [1, 3, whole.length - 2]) {
      decoder.begin(whole.slice(0, start));
      const rest =
        whole
          .slice(start)
          .map((id) => decoder.push(id))
          .join('') + decoder.flush();
      expect(tokenizer.decode(whole.slice(0, start)) + rest).toBe('the sea is wide');
    }
    decoder.begin([]);
    expect(
      ids('the')
        .map((id) => decoder.push(id))
        .join(''),
    ).toBe('the');
  });
});

describe('bytes', () => {
  it('are held back until they are a character', () => {
    for (const [tokenizer, ids] of [
      [byteLevel, bytesOf('a中😀')],
      [byteFallback, fallbackBytesOf('a中😀')],
    ] as const)
      expect(stream(tokenizer, ids)).toEqual(['a', '', '', '中', '', '', '', '😀', '']);
  });

  it('are given as U+FFFD once they can be no character', () => {
    expect(stream(byteLevel, [0xe4, 0x61, 0xff, 0xff, 0xe4, 0xb8])).toEqual([
      '',
      '\ufffda',
      '',
      '\ufffd',
      '\ufffd',
      '',
      '\ufffd',
    ]);
  });

  it('that end after a special token which is left out still make a character', () => {
    expect(stream(byteLevel, [0xe4, 0xb8, 268, 0xad]).join('')).toBe('中');
    expect(stream(byteLevel, [0xe4, 0xb8, 268, 0xad], false).join('')).toBe('\ufffd<|end|>\ufffd');
  });

  it('with characters across every boundary of tokens are given as they come', () => {
    // Each token ends one character and begins the next.
    const across = byteLevel.tokenToId('\u0143\u00e4')!;
    const begin = 0xe4;
    const decoder = new StreamDecoder(byteLevel);
    expect(decoder.push(begin) + decoder.push(0xb8)).toBe('');
    for (let i = 0; i < 200; i++) {
      expect(decoder.push(across)).toBe('中');
      expect(decoder.push(0xb8)).toBe('');
    }
    expect(decoder.flush()).toBe('\ufffd');
  });

  it('keep U+FEFF in the middle of a text, wherever the window begins', () => {
    const text = '\ufeff中'.repeat(40);
    expect(stream(byteLevel, bytesOf(text)).join('')).toBe(text);
    expect(stream(byteFallback, fallbackBytesOf(text)).join('')).toBe(text);
  });
});

describe('the first space', () => {
  it('is dropped once, as the whole text has it', () => {
    const ids = byteFallback.encode('the the a');
    expect(stream(byteFallback, ids)).toEqual(['the', ' the', ' a', '']);
  });

  it('is dropped after a special token that is left out', () => {
    const the = byteFallback.tokenToId('▁the')!;
    expect(stream(byteFallback, [1, the, the])).toEqual(['', 'the', ' the', '']);
  });
});

describe('the window', () => {
  it('is bounded, whatever comes', () => {
    const { tokenizer, longest } = watched(byteLevel);
    const worst = [
      bytesOf('abc '.repeat(200)),
      bytesOf('中'.repeat(200)),
      bytesOf('😀'.repeat(200)),
      new Array(800).fill(0xff),
      new Array(800).fill(0xf0),
      new Array(800).fill(byteLevel.tokenToId('\u0143\u00e4')),
      new Array(800).fill(268),
    ];
    for (const ids of worst) {
      const decoder = new StreamDecoder(tokenizer);
      for (const id of ids) decoder.push(id);
    }
    expect(longest()).toBeLessThanOrEqual(48);
  });

  function watched(inner: Tokenizer) {
    const decode = vi.spyOn(inner, 'decode');
    return { tokenizer: inner, longest: () => Math.max(...decode.mock.calls.map(([ids]) => ids.length)) };
  }
});

describe('odd tokens', () => {
  /** The tokenizer with more tokens, from id 600 on. */
  function withTokens(json: Json, ...tokens: string[]): Tokenizer {
    const { vocab } = json['model'] as { vocab: Record<string, number> };
    for (const [i, token] of tokens.entries()) vocab[token] = 600 + i;
    return Tokenizer.fromJson(json, {});
  }

  const many = new Array<number>(300).fill(600);

  it('without text do not push half a character out of the window', () => {
    expect(stream(withTokens(byteLevelJson(), ''), [0xe4, ...many, 0xb8, 0xad]).join('')).toBe('中');
  });

  it('without text do not make what follows stand at the beginning', () => {
    const a = byteFallback.tokenToId('▁a')!;
    expect(stream(withTokens(byteFallbackJson(), ''), [...many, a, ...many, a]).join('')).toBe('a a');
  });

  it('with half a surrogate pair are held back', () => {
    const tokenizer = withTokens(byteFallbackJson(false), '\ud83d', '\ude00');
    expect(stream(tokenizer, [600, 601, 600, 260])).toEqual(['', '😀', '', '\ud83da', '']);
  });
});

describe('ids', () => {
  it('that the tokenizer has no token for have no text', () => {
    expect(stream(byteLevel, [97, 9999, 98])).toEqual(['a', '', 'b', '']);
  });

  it('that are none are refused', () => {
    const decoder = new StreamDecoder(byteLevel);
    for (const id of [-1, 0.5, Number.NaN]) expect(() => decoder.push(id)).toThrow(InputError);
  });
});

it('begins anew after flush', () => {
  const decoder = new StreamDecoder(tinyTokenizer());
  const ids = tinyTokenizer().encode(' the sea');
  const once = () => ids.map((id) => decoder.push(id)).join('') + decoder.flush();
  expect([once(), once()]).toEqual([' the sea', ' the sea']);
});

it('gives all text at the end where the decoder looks at joined text', () => {
  const json = byteFallbackJson();
  const { decoders } = json['decoder'] as { decoders: Json[] };
  decoders.push({ type: 'Replace', pattern: { String: 'a b' }, content: 'c' });
  const tokenizer = Tokenizer.fromJson(json, {});
  const ids = tokenizer.encode('a b a');
  expect(stream(tokenizer, ids)).toEqual([...ids.map(() => ''), 'c a']);
});

it('keeps the special tokens that are named', () => {
  const tokenizer = tinyTokenizer();
  const [id] = tokenizer.specialTokenIds;
  const name = tokenizer.idToToken(id)!;
  const ids = [...tokenizer.encode('a', { addSpecialTokens: false }), id];
  const textOf = (decoder: StreamDecoder) => ids.map((each) => decoder.push(each)).join('') + decoder.flush();
  expect(textOf(new StreamDecoder(tokenizer))).not.toContain(name);
  expect(textOf(new StreamDecoder(tokenizer, { keepSpecialTokens: [name, 'no token'] }))).toContain(name);
});
