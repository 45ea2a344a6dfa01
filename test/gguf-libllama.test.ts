/**
 * llama.cpp loads what `keyhold convert` writes, and chooses the same tokens. libllama comes with the package of the
 * ggml engine; where it is not there, this is skipped.
 */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { bindLlama, decodeTokens, openContext, openModel } from '../bench/libllama.ts';
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import { openCheckpoint, writeGguf } from '../src/exports/checkpoint-node.ts';
import { loadModel } from '../src/node.ts';
import { argmax } from '../src/util/numbers.ts';
import { largestError } from './parity/case.ts';
import { caseFolder, MORE_CASES, CASES as OLDER } from './support/family-cases.ts';
import { hasLlama } from './support/libllama.ts';
import { tempFolder } from './support/temp-folder.ts';

const folder = await tempFolder('libllama');
const PROMPT = 'In the beginning God created the heaven and the earth. And the earth was';
const TOKENS = 24;
/**
 * Tiny models that are written; those of `test/gguf-libllama-models.test.ts` that are left out there are left out here,
 * too.
 */
const WRITTEN = [
  ...['qwen3_moe', 'stablelm-2', 'olmo3', 'glm4', 'glm4_moe', 'ernie4_5_moe', 'minimax_m2', 'afmoe', 'gpt_oss'],
  ...[
    'glm4_moe_lite',
    'youtu',
    'mamba',
    'falcon_mamba',
    'mamba2-groups',
    'jamba',
    'lfm2',
    'granitemoehybrid',
    'nemotron_h',
    'lfm2_moe',
    'hunyuan_v1_moe',
  ],
];
const IDS = [5, 9, 11, 40, 7, 60, 8, 33, 21, 4, 90, 2];

describe.runIf(hasLlama())('libllama', () => {
  const ggml = openGgml();
  const llama = bindLlama(ggml);
  const opened: (() => void)[] = [];
  afterAll(() => {
    for (const close of opened.reverse()) close();
  });

  /** Greedy tokens after a prompt, each computed from the start: no cache is between the two. */
  function greedy(file: string, prompt: readonly number[]): { tokens: number[]; logits: Float32Array } {
    const model = openModel(llama, file);
    opened.push(() => llama.freeModel(model));
    const context = openContext(llama, model, { n_threads: 1 });
    opened.push(() => llama.freeContext(context));
    const size = llama.vocabularySize(llama.vocabulary(model));
    const logitsOf = (ids: readonly number[], from: number): Float32Array => {
      const { length } = ids;
      decodeTokens({ ggml, llama, context }, ids, (i) => ({ position: from + i, row: 0, wanted: i === length - 1 }));
      return new Float32Array(ggml.koffi.view(llama.logits(context, -1), 4 * size)).slice();
    };
    const first = logitsOf(prompt, 0);
    const tokens = [argmax(first)];
    while (tokens.length < TOKENS) tokens.push(argmax(logitsOf(tokens.slice(-1), prompt.length + tokens.length - 1)));
    return { tokens, logits: first };
  }

  function logitsAfter(file: string, ids: readonly number[], size: number): Float32Array {
    const model = openModel(llama, file);
    const context = openContext(llama, model, { n_threads: 1 });
    try {
      decodeTokens({ ggml, llama, context }, ids, (i) => ({ position: i, row: 0, wanted: i === ids.length - 1 }));
      return new Float32Array(ggml.koffi.view(llama.logits(context, -1), 4 * size)).slice();
    } finally {
      llama.freeContext(context);
      llama.freeModel(model);
    }
  }

  it.each(WRITTEN)('computes what we compute of %s, as it was written', async (name) => {
    const file = join(folder, `${name}.gguf`);
    const from = OLDER.includes(name) ? caseFolder(name) : join(MORE_CASES, name);
    const checkpoint = await openCheckpoint(from);
    await writeGguf(checkpoint, file, { weights: 'f32' });
    await checkpoint.close();
    await using model = await loadModel(from, { weights: 'float32', cacheDir: folder });
    const cache = model.createCache({ policy: 'dense', cacheLength: 64 });
    const ours = (await model.step(cache, [IDS])).logits;
    const theirs = logitsAfter(file, IDS, model.config.vocabSize);
    const largest = ours.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    expect(largestError(theirs, ours)).toBeLessThan(0.01 * largest);
  });

  it.each([
    // llama.cpp rounds keys and values to float16; with blocks it rounds activations to 8 bits, too, and tokens may
    // differ.
    ['f32', 0.03],
    ['f16', 0.03],
    ['q8_0', 0.3],
    ['q4_0', 0.3],
  ] as const)('computes what we compute with %s', async (weights, most) => {
    const file = join(folder, `${weights}.gguf`);
    const checkpoint = await openCheckpoint('keyhold/tiny');
    await writeGguf(checkpoint, file, { weights });
    await checkpoint.close();
    await using model = await loadModel(file, { weights: 'float32', cacheDir: folder });
    const prompt = model.tokenizer.encode(PROMPT);
    const cache = model.createCache();
    const ours = await model.prefill(cache, prompt);
    const tokens = [argmax(ours)];
    while (tokens.length < TOKENS) tokens.push(argmax((await model.step(cache, [[tokens.at(-1)!]])).logits));
    const theirs = greedy(file, prompt);
    const error = Math.max(...theirs.logits.map((value, i) => Math.abs(value - ours[i])));
    expect(error).toBeLessThan(most);
    if (weights.startsWith('f')) expect(theirs.tokens).toEqual(tokens);
  });
});
