import { describe, expect, it } from 'vitest';
import { type Json, tokenizerKinds } from '../../test/support/tokenizers.ts';
import { decodesInPieces } from './decoder-kind.ts';

const model: Json = { type: 'BPE' };
const decoderOf = (...decoders: Json[]): Json => ({ model, decoder: { type: 'Sequence', decoders } });

describe('decodesInPieces', () => {
  it.each(Object.entries(tokenizerKinds()))('is true for %s', (_, json) => {
    expect(decodesInPieces(json)).toBe(true);
  });

  it('is true for no decoder, and for parts within parts', () => {
    expect(decodesInPieces({ model, decoder: null })).toBe(true);
    const inner = decoderOf({ type: 'Replace' }, { type: 'ByteFallback' })['decoder'] as Json;
    expect(decodesInPieces(decoderOf(inner, { type: 'Fuse' }, { type: 'Strip' }))).toBe(true);
  });

  it('is false where joined text is looked at', () => {
    expect(decodesInPieces(decoderOf({ type: 'Fuse' }, { type: 'Replace' }))).toBe(false);
    expect(decodesInPieces(decoderOf({ type: 'Fuse' }, { type: 'ByteFallback' }))).toBe(false);
    expect(decodesInPieces(decoderOf({ type: 'ByteLevel' }, { type: 'WordPiece' }))).toBe(false);
    expect(decodesInPieces({ model: { ...model, end_of_word_suffix: '</w>' }, decoder: null })).toBe(false);
  });

  it('is false for decoders that change what was said, and for those that are not known', () => {
    for (const type of ['CTC', 'BPEDecoder', 'Nonsense', undefined])
      expect(decodesInPieces({ model, decoder: { type } })).toBe(false);
  });
});
