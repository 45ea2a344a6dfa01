import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../test/support/family-cases.ts';
import { floatsOf, readTensors, writeTensors } from '../../test/support/safetensors-file.ts';
import { ids, watchSteps } from '../../test/support/small-model.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { perplexity } from '../eval/perplexity.ts';
import { loadModel } from '../node.ts';
import { CacheFullError, InputError } from '../util/errors.ts';
import type { LanguageModel } from './language-model.ts';

const cacheDir = await tempFolder('score');
let tiny: LanguageModel;
let small: LanguageModel;
beforeAll(async () => {
  tiny = await loadModel('models/tiny', { weights: 'float32', cacheDir, generationConfig: false });
  small = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, generationConfig: false });
});
afterAll(async () => {
  await tiny.dispose();
  await small.dispose();
});

/** The model of the case `llama`, with its rows of embeddings and of the head once more until there are `vocabSize`. */
async function writeWideModel(folder: string, vocabSize: number): Promise<void> {
  const config = JSON.parse(await readFile(join(caseFolder('llama'), 'config.json'), 'utf8'));
  const wide = { ...config, vocab_size: vocabSize, max_position_embeddings: 512 };
  await writeFile(join(folder, 'config.json'), JSON.stringify(wide));
  const tensors = await readTensors(join(caseFolder('llama'), 'model.safetensors'));
  const widened = Object.entries(tensors).map(([name, tensor]) => {
    if (tensor.shape[0] !== 97) return [name, tensor];
    const rows = floatsOf(tensor);
    const all = Float32Array.from({ length: vocabSize * tensor.shape[1] }, (_, i) => rows[i % rows.length]);
    return [name, { ...tensor, shape: [vocabSize, tensor.shape[1]], bytes: new Uint8Array(all.buffer) }];
  });
  await writeTensors(join(folder, 'model.safetensors'), Object.fromEntries(widened));
}

const TEXT = 'In the beginning God created the heaven and the earth.';

describe('score', () => {
  it('tells each token’s log probability after those before it', async () => {
    const { tokens, logprob } = await small.score(ids(40), { chunkLength: 7 });
    const all = await small.prefill(small.createCache(), ids(40), { logits: 'all' });
    expect(tokens.map(({ token }) => token)).toEqual(ids(40));
    expect(tokens[0]).toEqual({ token: ids(1)[0], logprob: null });
    let sum = 0;
    for (let i = 1; i < 40; i++) {
      const row = [...all.subarray((i - 1) * 97, i * 97)];
      const norm = Math.log(row.reduce((total, logit) => total + Math.exp(logit), 0));
      expect(tokens[i].logprob).toBeCloseTo(row[ids(40)[i]] - norm, 4);
      sum += tokens[i].logprob!;
    }
    expect(logprob).toBeCloseTo(sum, 9);
  });

  it('agrees with what generate says of its own tokens', async () => {
    const prompt = tiny.tokenizer.encode('And it came to pass');
    const { tokens } = await tiny.generate(prompt, { maxNewTokens: 12, topLogprobs: 3 }).result();
    const scored = await tiny.score([...prompt, ...tokens.map(({ token }) => token)], { topLogprobs: 3 });
    tokens.forEach(({ token, logprob, top }, i) => {
      const same = scored.tokens[prompt.length + i];
      expect(same.token).toBe(token);
      expect(same.logprob).toBeCloseTo(logprob, 3);
      expect(same.top!.map((one) => one.token)).toEqual(top!.map((one) => one.token));
    });
    expect(scored.tokens[0].top).toBeUndefined();
  });

  it('is a probability of all of the text where a special token stands before it', async () => {
    const scored = await tiny.score(TEXT);
    expect(scored.tokens[0]).toEqual({ token: 0, logprob: null });
    expect(scored.tokens.slice(1).map(({ token }) => token)).toEqual(
      tiny.tokenizer.encode(TEXT, { addSpecialTokens: false }),
    );
    const bare = await tiny.score(TEXT, { addSpecialTokens: false });
    expect(bare.tokens).toHaveLength(scored.tokens.length - 1);
    expect(scored.perplexity).toBeCloseTo((await perplexity(tiny, TEXT)).perplexity, 3);
    expect(scored.logprob).toBeCloseTo(-Math.log(scored.perplexity) * (scored.tokens.length - 1), 6);
    expect((await tiny.score('the', { addSpecialTokens: false })).perplexity).toBeNaN();
  });

  it('reads through any cache, and goes on from one', async () => {
    const dense = await tiny.score(TEXT);
    const roomy = await tiny.score(TEXT, { cache: { policy: 'h2o', cacheLength: 64 }, chunkLength: 4 });
    roomy.tokens.forEach(({ logprob }, i) => {
      if (i > 0) expect(logprob).toBeCloseTo(dense.tokens[i].logprob!, 3);
    });
    const tight = await tiny.score(TEXT, { cache: { policy: 'lastrec', cacheLength: 3 }, chunkLength: 1 });
    expect(tight.logprob).not.toBeCloseTo(dense.logprob, 1);
    const cache = tiny.createCache();
    const [first, ...rest] = dense.tokens.map(({ token }) => token);
    await tiny.prefill(cache, [first, ...rest.slice(0, 4)]);
    const going = await tiny.score(rest.slice(4), { cache });
    going.tokens.slice(1).forEach(({ logprob }, i) => {
      expect(logprob).toBeCloseTo(dense.tokens[6 + i].logprob!, 3);
    });
    expect(cache.length()).toBe(dense.tokens.length);
  });

  it('holds the logits of fewer tokens at once where the vocabulary is large, with the same results', async () => {
    const folder = await tempFolder('wide');
    await writeWideModel(folder, 20_000);
    await using wide = await loadModel(folder, { weights: 'float32', cacheDir });
    const steps = watchSteps(wide);
    const scored = await wide.score(ids(300), { topLogprobs: 2 });
    expect(steps.splice(0)).toEqual([[192], [108]]);
    expect(await wide.score(ids(300), { topLogprobs: 2, chunkLength: 300 })).toEqual(scored);
    // What a caller asks for is kept, and what changes the result.
    const evicts = { policy: 'lastrec', cacheLength: 100 } as const;
    await wide.score(ids(150), { cache: evicts });
    expect(steps.splice(0)).toEqual([[300], [64], [64], [22]]);
  });

  it('tells how far it is, and can be stopped', async () => {
    const progress: number[] = [];
    const aborter = new AbortController();
    const onProgress = (done: number, total: number) => {
      progress.push(done, total);
      if (done === 20) aborter.abort(new Error('enough'));
    };
    const run = small.score(ids(50), { chunkLength: 10, onProgress, signal: aborter.signal });
    await expect(run).rejects.toThrow('enough');
    expect(progress).toEqual([10, 50, 20, 50]);
  });

  it('refuses what can not be', async () => {
    await expect(small.score([])).rejects.toThrow(InputError);
    await expect(small.score([97])).rejects.toThrow(/not in the model's vocabulary/);
    await expect(small.score('text')).rejects.toThrow(/no tokenizer/);
    await expect(small.score(ids(5), { topLogprobs: -1 })).rejects.toThrow(/topLogprobs/);
    await expect(small.score(ids(5), { cache: { policy: 'dense', cacheLength: 4 } })).rejects.toThrow(CacheFullError);
    await expect(small.score(ids(5), { cache: small.createCache({ batch: 2 }) })).rejects.toThrow(/one row/);
  });
});
