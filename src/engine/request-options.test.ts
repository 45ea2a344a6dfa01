import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../load/load-model-node.ts';
import type { LanguageModel } from './language-model.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model.dispose());

/** Options as a caller without types gives them. */
const wrong = (options: object) => options as Record<string, never>;

describe('options that there are not', () => {
  it('are refused with the name that was meant', async () => {
    expect(() => model.generate('x', wrong({ temprature: 1 }))).toThrow(
      'generate has no option temprature; did you mean temperature?',
    );
    expect(() => model.generate('x', wrong({ top_k: 1 }))).toThrow('did you mean topK?');
    expect(() => model.generate('x', wrong({ max_tokens: 1 }))).toThrow('it is called maxNewTokens here');
    expect(() => model.generate('x', wrong({ cacheLength: 9 }))).toThrow('it is called cache: { cacheLength } here');
    expect(() => model.generateBatch(['x'], wrong({ batchsize: 1 }))).toThrow('did you mean batchSize?');
    await expect(model.score('text', wrong({ maxNewTokens: 1 }))).rejects.toThrow('score has no option maxNewTokens');
  });

  it('of one request in a batch fail that request only', async () => {
    const requests = [wrong({ prompt: 'x', stops: 'y' }), { prompt: 'x' }];
    const [bad, good] = await model.generateBatch(requests, { maxNewTokens: 1 }).results();
    expect(bad).toMatchObject({
      type: 'error',
      error: { code: 'input', message: expect.stringContaining('mean stop?') },
    });
    expect(good).toMatchObject({ type: 'end' });
  });

  it('that are undefined count as not given', () => {
    expect(() => model.generate('x', wrong({ other: undefined }))).not.toThrow();
  });
});
