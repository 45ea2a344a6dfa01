import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { ids } from '../../../test/support/small-model.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadModel } from '../../load/load-model-node.ts';
import { InputError } from '../../util/errors.ts';
import type { LanguageModel } from '../language-model.ts';
import { applyMask, type LogitsProcessor } from './logits.ts';

const cacheDir = await tempFolder('processors');
/** 97 tokens and no tokenizer. */
let small: LanguageModel;
beforeAll(async () => {
  small = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, generationConfig: false });
});
afterAll(() => small.dispose());

const tokensOf = ({ tokens }: { tokens: readonly { token: number }[] }): number[] => tokens.map(({ token }) => token);

function maskOf(...allowed: number[]): Uint32Array {
  const mask = new Uint32Array(4);
  for (const id of allowed) mask[id >> 5] |= 1 << (id & 31);
  return mask;
}

/** A grammar: `count` numbers, each by one larger than the one before, from 10 or 20. */
function counting(count: number, prepare?: () => Promise<void>): LogitsProcessor {
  return {
    create() {
      let left = count;
      let mask = maskOf(10, 20, 31, 63);
      return {
        prepare,
        mask: () => mask,
        accept(token) {
          mask = maskOf(token + 1);
          left--;
        },
        get ended() {
          return left === 0;
        },
      };
    },
  };
}

const isCounting = (tokens: readonly number[]) => tokens.every((token, i) => i === 0 || token === tokens[i - 1] + 1);

describe('a mask', () => {
  it('leaves the tokens whose bits are set', () => {
    for (const size of [1, 31, 32, 33, 97, 128]) {
      const logits = Float32Array.from({ length: size }, (_, i) => i);
      const mask = Uint32Array.of(0x80000001, 0xffffffff, 0, 0x2);
      applyMask(logits, mask);
      const allowed = [...logits.keys()].filter((i) => logits[i] > -Infinity);
      const wanted = [...logits.keys()].filter((i) => i === 0 || (i >= 31 && i < 64) || i === 97);
      expect(allowed).toEqual(wanted);
    }
  });

  it('excludes tokens that it is too short for', () => {
    const logits = new Float32Array(40);
    applyMask(logits, Uint32Array.of(3));
    expect([...logits].filter((logit) => logit === 0)).toHaveLength(2);
  });
});

describe('a processor with a mask', () => {
  it('decides before topK, ends the text without another step, and keeps the model’s own log probabilities', async () => {
    for (const options of [{}, { temperature: 1, topK: 1, seed: 3 }, { temperature: 2, minP: 0.9, seed: 1 }]) {
      const run = small.generate(ids(5), { ...options, processors: [counting(6)], maxNewTokens: 50 });
      const result = await run.result();
      expect(result.finishReason).toBe('eos');
      expect(tokensOf(result)).toHaveLength(6);
      expect(isCounting(tokensOf(result))).toBe(true);
      expect(run.cache.length()).toBe(5 + 5);
      expect(run.cache.pending()).toEqual(tokensOf(result).slice(-1));
      const { tokens } = await small.score([...ids(5), ...tokensOf(result)]);
      result.tokens.forEach(({ logprob }, i) => {
        expect(logprob).toBeCloseTo(tokens[5 + i].logprob!, 3);
      });
    }
  });

  it('has a state of its own for each row of a batch, with and without speculation', async () => {
    const processors = [counting(8)];
    const requests = [1, 2, 3, 4].map((n) => ({ prompt: ids(4, n), speculate: n > 2, temperature: 1, seed: n }));
    const results = await small.generateBatch(requests, { processors, maxNewTokens: 30 }).results();
    expect(results).toHaveLength(4);
    for (const end of results) {
      const tokens = end.type === 'end' ? tokensOf(end.result) : [];
      expect(tokens).toHaveLength(8);
      expect(isCounting(tokens)).toBe(true);
    }
  });

  it('is prepared while others go on, and its error is that of its own request', async () => {
    let ready = () => {};
    const waiting = new Promise<void>((resolve) => {
      ready = resolve;
    });
    const slow = small.generate(ids(5), { processors: [counting(3, () => waiting)] }).result();
    const broken = small.generate(ids(5), {
      processors: [counting(3, async () => Promise.reject(new InputError('no such grammar')))],
    });
    const aborter = new AbortController();
    const never = new Promise<void>(() => {});
    const aborted = small.generate(ids(5), { processors: [counting(3, () => never)], signal: aborter.signal }).result();
    await expect(broken.result()).rejects.toThrow('no such grammar');
    await small.generate(ids(6), { maxNewTokens: 12, eosTokenIds: [] }).result();
    aborter.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    ready();
    expect(tokensOf(await slow)).toHaveLength(3);
  });

  it('that allows nothing is an error that says so', async () => {
    const processors: LogitsProcessor[] = [{ create: () => ({ mask: () => new Uint32Array(4) }) }];
    await expect(small.generate(ids(5), { processors }).result()).rejects.toThrow(/no token is left to choose/);
    expect(() => small.generate(ids(5), { processors: [{ create: () => ({}) }] })).toThrow(InputError);
  });
});
