/**
 * What `console.log` shows of models, caches and tokenizers.
 */
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { loadModel } from '../src/node.ts';

it('models, caches and tokenizers are shown as a line', async () => {
  await using model = await loadModel();
  const cache = model.createCache({ policy: 'h2o', cacheLength: 64 });
  await model.generate([5, 6, 7], { cache, maxNewTokens: 1 }).result();
  expect(inspect(model)).toBe(
    'LanguageModel { name: "keyhold/tiny", family: "llama", weights: "float32", contextLength: 4096 }',
  );
  expect(inspect(cache)).toBe('KVCache { policy: "h2o", cacheLength: 64, buffer: "float32", seen: [3], held: [3] }');
  expect(inspect(model.tokenizer)).toBe('Tokenizer { vocabSize: 4096 }');
  expect(inspect({ model })).toBe(`{\n  model: ${inspect(model)}\n}`);
});
