import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { anyTable } from '../../test/support/calibration.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { BUFFERS, type BufferChoice, type BufferKind } from '../kvcache/buffers.ts';
import { denseBytes } from '../kvcache/byte-budget.ts';
import { POLICIES } from '../kvcache/policies.ts';
import { type LanguageModel, loadModel } from '../node.ts';
import { InputError } from '../util/errors.ts';
import { compare } from './compare.ts';
import { perplexity } from './perplexity.ts';

const TEXT = 'In the beginning God created the heaven and the earth. And the earth was without form, and void. '.repeat(
  9,
);
const NAMES = [
  ...Object.keys(POLICIES).filter((name) => name !== 'dense'),
  'ada(h2o)',
  'mix(echo, keydiff)',
  'routed(echo, h2o)',
];
const KINDS = Object.keys(BUFFERS) as BufferKind[];

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel('keyhold/tiny', { cacheDir: await tempFolder('cache-bytes'), threads: 1 });
});
afterAll(() => model.dispose());

describe('an evaluation at a budget in bytes', () => {
  it('keeps less than the budget at its largest, whatever the policy, the buffer, the length and the replay', async () => {
    const { shape } = model.createCache({ cacheLength: 8 });
    const table = anyTable(shape, 7);
    const any = fc.record({
      policy: fc.constantFrom(...NAMES),
      buffer: fc.option(
        fc.oneof(
          fc.constantFrom(...KINDS),
          fc.record({ keys: fc.constantFrom(...KINDS), values: fc.constantFrom(...KINDS) }),
        ),
        { nil: undefined },
      ),
      windowLength: fc.integer({ min: 20, max: 200 }),
      percent: fc.integer({ min: 8, max: 110 }),
      chunkLength: fc.integer({ min: 1, max: 80 }),
      replay: fc.boolean(),
    });
    let measured = 0;
    await fc.assert(
      fc.asyncProperty(any, async ({ policy, buffer, windowLength, percent, chunkLength, replay }) => {
        const options = {
          policy,
          buffer: policy === 'qh2o' && buffer === undefined ? 'int8' : (buffer as BufferChoice | undefined),
          cacheLength: windowLength,
          cacheBytes: `${percent}%`,
          ...(policy.startsWith('routed') ? { table } : {}),
          ...(replay && /echo|routed/.test(policy) ? { replay } : {}),
        };
        const limit = Math.floor((percent / 100) * denseBytes(shape, windowLength));
        const cost = await perplexity(model, TEXT, { cache: options, windowLength, windows: 1, chunkLength }).catch(
          (error: unknown) => {
            // Too little for the policy, which says so, or a buffer that it has no use for.
            expect(error).toBeInstanceOf(InputError);
            return null;
          },
        );
        if (!cost) return;
        measured++;
        expect(cost.cacheBytes).toBeLessThanOrEqual(cost.totalBytes);
        expect(cost.totalBytes).toBeLessThanOrEqual(limit);
      }),
      { numRuns: 40, seed: 4 },
    );
    expect(measured).toBeGreaterThan(15);
  });

  it('is told in every row of a comparison', async () => {
    const [dense, ...rows] = await compare(model, {
      contestants: ['lastrec', 'h2o', 'keydiff'].map((policy) => ({ name: policy, policy })),
      budgets: [0.3, 0.6],
      unit: 'bytes',
      text: TEXT,
      windowLength: 128,
      windows: 1,
    });
    expect(dense.policy).toBe('dense');
    const whole = denseBytes(model.createCache({ cacheLength: 8 }).shape, 128);
    expect(rows).toHaveLength(6);
    for (const { budget, totalBytes, refused } of rows) {
      expect(refused).toBeUndefined();
      expect(totalBytes!).toBeLessThanOrEqual(budget * whole);
    }
  });
});
