import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALL_BUFFERS, anyRun, check, openRun, type Run, stepTokens } from '../../../test/support/cache-runs.ts';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { range } from '../../util/numbers.ts';
import type { KVCache } from '../kv-cache.ts';

const POLICY = { name: 'keydiff', options: { policy: 'keydiff' }, safe: true };
const SHARED = { name: 'ada(keydiff)', options: { policy: 'keydiff', ada: true }, safe: true };
const runs = anyRun({ rows: 3, buffers: ALL_BUFFERS });

function go(run: Run, cache: KVCache, model: ReturnType<typeof openRun>['model'], multipliesKeys = true): void {
  for (const step of run.steps) fakeStep(model, cache, stepTokens(cache, step), { phase: step.phase, multipliesKeys });
}

/** The sums of all groups as the cache keeps them, and as its slots give them. */
function checkSums({ keySums, store, shape, rows }: KVCache): void {
  for (const table of store.tables.values())
    for (const row of range(rows.length))
      for (const group of range(table.groups)) {
        const [layer] = table.layers;
        const { keySize } = shape.layers[layer];
        const wanted = new Float64Array(keySize);
        const key = new Float32Array(keySize);
        for (const slot of range(table.filled[table.groupIndex(row, group)])) {
          store.buffers[layer]!.readKey({ row, group, slot }, key);
          const length = Math.hypot(...key) || 1;
          for (const i of range(keySize)) wanted[i] += key[i] / length;
        }
        const from = keySums!.at(rows[row].keySums, table, row, group);
        for (const i of range(keySize)) expect(rows[row].keySums[from + i]).toBeCloseTo(wanted[i], 9);
      }
}

describe('the sum of the directions of held keys', () => {
  it.each([POLICY, SHARED])(
    '$name: is that of the slots after any chunk, and after chunks were taken back',
    (policy) => {
      check(
        fc.property(runs, fc.boolean(), (run, isCut) => {
          const { model, cache } = openRun(run, policy);
          go(run, cache, model);
          checkSums(cache);
          const last = run.steps.at(-1)!.lengths;
          for (const [row, count] of last.entries())
            cache.truncate(cache.length(row) - (isCut ? Math.ceil(count / 2) : count), row);
          checkSums(cache);
          if (cache.canRebase) for (const row of range(run.rows)) cache.rebase(row);
          checkSums(cache);
          const twin = cache.fork();
          go(run, twin, model);
          checkSums(twin);
          checkSums(cache);
        }),
        30,
      );
    },
  );

  it('is made anew where the row went back further than its last chunk', () => {
    const [step] = [{ lengths: [5], phase: 'decode' as const }];
    const run: Run = {
      seed: 1,
      shape: { windows: [null], groups: 2, heads: 1, headSize: 4 },
      ...{ cacheLength: 20, buffer: 'float32', growth: 4, rows: 1, steps: [step, step, step] },
    };
    const { model, cache } = openRun(run, POLICY);
    go(run, cache, model);
    cache.truncate(3);
    checkSums(cache);
    go({ ...run, steps: [step] }, cache, model);
    checkSums(cache);
  });
});

describe('what keys have along the mean of their directions', () => {
  it.each([POLICY, SHARED])('$name: is the same whether the engine gives the products or not', (policy) => {
    check(
      fc.property(runs, (run) => {
        const { model, cache } = openRun(run, policy);
        const { cache: alone } = openRun(run, policy);
        for (const step of run.steps) {
          // By the slots of one, so that ties are decided alike.
          const tokens = stepTokens(cache, step);
          fakeStep(model, cache, tokens, { phase: step.phase });
          fakeStep(model, alone, tokens, { phase: step.phase, multipliesKeys: false });
          for (const l of range(model.shape.nLayer))
            for (const row of range(run.rows))
              for (const g of range(model.shape.nQueryGroups)) {
                const positions = cache.tokenPositions(l, row, g);
                // A decision between equal scores is up to rounding.
                if (String(positions) !== String(alone.tokenPositions(l, row, g))) return;
                const wanted = alone.scores(l, row, g)!;
                for (const [j, score] of cache.scores(l, row, g)!.entries()) expect(score).toBeCloseTo(wanted[j], 5);
              }
        }
      }),
      30,
    );
  });
});
