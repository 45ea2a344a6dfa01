/**
 * @file Our side: this library, in a process of its own.
 */

import { type KVCache, type LanguageModel, loadModel } from '../src/node.ts';
import { DECODE_TOKENS, DECODE_WARM_UP, promptTokens, SPARE_TOKENS, serve, type Work } from './protocol.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { type ShapeConfig, shapes } from './shapes.ts';

let config: ShapeConfig;
let model: LanguageModel;
let cache: KVCache;
let work: Work;
let prompt: number[];

serve({
  async load({ shape, seed, threads, folder }) {
    config = shapes[shape]!;
    model = await loadModel(randomCheckpoint(config, seed), { weights: 'int4', threads, cacheDir: folder });
  },

  async prepare(next) {
    work = next;
    prompt = promptTokens(work.tokens, config.vocab_size);
    const one = model.createCache({ policy: 'dense', cacheLength: work.tokens + SPARE_TOKENS });
    await model.prefill(one, prompt);
    cache = one.recreate(work.rows);
    for (let row = 0; row < work.rows; row++) cache.copyRow(one, 0, row);
    await this.run();
  },

  async run() {
    if (work.kind === 'prefill') {
      cache.truncate(0);
      const start = performance.now();
      greedy(await model.prefill(cache, prompt));
      return { tokens: work.tokens, ms: performance.now() - start };
    }
    for (let row = 0; row < work.rows; row++) cache.truncate(work.tokens, row);
    let tokens = Array.from({ length: work.rows }, (_, row) => prompt[row]!);
    let start = 0;
    for (let made = 0; made < DECODE_WARM_UP + DECODE_TOKENS; made++) {
      if (made === DECODE_WARM_UP) start = performance.now();
      const { logits } = await model.step(
        cache,
        tokens.map((token) => [token]),
      );
      const width = logits.length / work.rows;
      tokens = tokens.map((_, row) => greedy(logits.subarray(row * width, (row + 1) * width)));
    }
    return { tokens: DECODE_TOKENS * work.rows, ms: performance.now() - start };
  },

  async release() {
    cache.clear();
  },
});

function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}
