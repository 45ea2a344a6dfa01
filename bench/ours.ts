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
    cache = model.createCache({ policy: 'dense', cacheLength: work.tokens + SPARE_TOKENS });
    await model.prefill(cache, prompt);
    await this.run();
  },

  async run() {
    if (work.kind === 'prefill') {
      cache.truncate(0);
      const start = performance.now();
      greedy(await model.prefill(cache, prompt));
      return { tokens: work.tokens, ms: performance.now() - start };
    }
    cache.truncate(work.tokens);
    let token = prompt[0]!;
    let start = 0;
    for (let made = 0; made < DECODE_WARM_UP + DECODE_TOKENS; made++) {
      if (made === DECODE_WARM_UP) start = performance.now();
      const { logits } = await model.step(cache, [[token]]);
      token = greedy(logits);
    }
    return { tokens: DECODE_TOKENS, ms: performance.now() - start };
  },

  async release() {
    cache.truncate(0);
  },
});

function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}
