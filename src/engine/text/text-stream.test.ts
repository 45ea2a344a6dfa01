import { expect, it } from 'vitest';
import { byteFallbackJson, byteLevelJson } from '../../../test/support/tokenizers.ts';
import { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { TextStream } from './text-stream.ts';

it('ends at a stop string that is a special token, which has no text', () => {
  const tokenizer = Tokenizer.fromJson(byteLevelJson(), {});
  const stream = new TextStream(tokenizer, ['xyz', '<|end|>']);
  const [a, x, end] = [tokenizer.tokenToId('a')!, tokenizer.tokenToId('x')!, tokenizer.tokenToId('<|end|>')!];
  expect([a, x].map((id) => stream.push(id)).join('')).toBe('a');
  expect(stream.push(end)).toBe('x');
  expect([stream.stopped, stream.all]).toEqual(['<|end|>', 'ax']);
  expect(stream.push(a)).toBe('');
});

it('finds a stop string that begins with the space after the prompt', () => {
  const tokenizer = Tokenizer.fromJson(byteFallbackJson(), {});
  const stream = new TextStream(tokenizer, [' the']);
  stream.begin(tokenizer.encode('sea', { addSpecialTokens: false }));
  expect(stream.push(tokenizer.tokenToId('▁the')!)).toBe('');
  expect(stream.stopped).toBe(' the');
});
