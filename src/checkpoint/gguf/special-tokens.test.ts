import { describe, expect, it } from 'vitest';
import { ggufFile, type TestValue } from '../../../test/support/gguf-bytes.ts';
import { bytesSource } from '../../../test/support/safetensors-bytes.ts';
import { readGgufHeader } from './header.ts';
import { Metadata } from './metadata.ts';
import { samplingDefaults } from './sampling-defaults.ts';
import { endTokenIds, specialTokenId } from './special-tokens.ts';

async function metadataOf(own: Record<string, TestValue>): Promise<Metadata> {
  const header = await readGgufHeader(bytesSource(ggufFile(own), 'x.gguf'));
  return new Metadata(header.metadata, 'x.gguf');
}

const [normal, control, userDefined] = [1, 3, 4];
/** A vocabulary of these tokens, control tokens where they look like it. */
const vocabulary = (tokens: readonly string[], types = tokens.map((t) => (/^[<[]/.test(t) ? control : normal))) => ({
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.tokens': tokens,
  'tokenizer.ggml.token_type': types,
});

describe('tokens that end an answer', () => {
  const LLAMA3 = ['a', '<|begin_of_text|>', '<|end_of_text|>', '<|eom_id|>', '<|eot_id|>'];
  const GEMMA = ['<pad>', '<eos>', '<bos>', 'a', '<end_of_turn>'];
  const HARMONY = ['a', '<|endoftext|>', '<|return|>', '<|end|>', '<|call|>', '<|message|>'];
  const SOLAR = ['<|end|>', '<|flush|>', '<|calls|>'];
  const KEY = 'tokenizer.ggml.eos_token_id';
  it.each([
    ['Llama 3: all that generation_config.json has', LLAMA3, { [KEY]: 2 }, [2, 3, 4]],
    ['Gemma: the end of a turn', GEMMA, { [KEY]: 1 }, [1, 4]],
    ['two that the file names', GEMMA, { [KEY]: 1, 'tokenizer.ggml.eot_token_id': 3 }, [1, 3, 4]],
    ['gpt-oss: <|end|> ends a channel', HARMONY, { [KEY]: 2 }, [2, 1, 4]],
    ['Solar: <|end|> ends a channel', SOLAR, { [KEY]: 1 }, [1, 2]],
    ['Phi: <|end|> ends an answer', ['a', '<|endoftext|>', '<|end|>'], { [KEY]: 1 }, [1, 2]],
    ['a list', ['a', 'b', 'c'], { [KEY]: [2, 1] }, [2, 1]],
    ['an id that is none', ['a', '<|im_end|>'], { [KEY]: 2 ** 32 - 1 }, [1]],
    ['none', ['a', 'b'], {}, []],
  ] as const)('%s', async (_, tokens, own, ends) => {
    expect(endTokenIds(await metadataOf({ ...vocabulary(tokens), ...own }), tokens.length)).toEqual(ends);
  });

  it('are no text, and have a row of the embedding', async () => {
    const tokens = ['<|im_end|>', '<|eot_id|>', '[EOT]'];
    const metadata = await metadataOf(vocabulary(tokens, [normal, userDefined, control]));
    expect(endTokenIds(metadata, 3)).toEqual([1, 2]);
    expect(endTokenIds(metadata, 2)).toEqual([1]);
    const { 'tokenizer.ggml.token_type': _, ...untyped } = vocabulary(tokens);
    expect(endTokenIds(await metadataOf(untyped), 3)).toEqual([]);
  });
});

describe('special tokens', () => {
  it('have the ids of llama.cpp where the file states none, or none that there is', async () => {
    const tokens = ['<unk>', '<s>', '</s>', 'a'];
    const own = { 'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.eos_token_id': 99 };
    const metadata = await metadataOf(own);
    const ids = (['bos', 'eos', 'unknown', 'padding'] as const).map((name) => specialTokenId(metadata, name, 4));
    expect(ids).toEqual([1, 2, 0, null]);
    expect(endTokenIds(metadata, 4)).toEqual([2]);
    expect(specialTokenId(await metadataOf(vocabulary(tokens)), 'bos', 4)).toBeNull();
  });

  it('are refused where they are no ids', async () => {
    const metadata = await metadataOf({ ...vocabulary(['a']), 'tokenizer.ggml.bos_token_id': '<s>' });
    expect(() => specialTokenId(metadata, 'bos', 1)).toThrow(/bos_token_id must be the id of a token, but is "<s>"/);
  });
});

describe('what a file recommends for sampling', () => {
  it('is given as generation_config.json', async () => {
    const own = { 'general.sampling.temp': 0.75, 'general.sampling.top_k': 64, 'general.sampling.top_p': 0.5 };
    expect(samplingDefaults(await metadataOf(own))).toEqual({
      do_sample: true,
      temperature: 0.75,
      top_k: 64,
      top_p: 0.5,
    });
    const greedy = await metadataOf({ 'general.sampling.temp': 0, 'general.sampling.penalty_repeat': 1.25 });
    expect(samplingDefaults(greedy)).toEqual({ do_sample: false, temperature: 0, repetition_penalty: 1.25 });
    expect(samplingDefaults(await metadataOf({ 'general.name': 'x' }))).toBeUndefined();
  });
});
