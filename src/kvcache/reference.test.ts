import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  anyRun,
  cacheOptions,
  check,
  openRun,
  type Run,
  same,
  stepTokens,
  type TestPolicy,
} from '../../test/support/cache-runs.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { EVICTING_POLICIES, SHARING_POLICIES } from '../../test/support/policy-names.ts';
import { ReferenceCache, type ReferenceOptions } from '../../test/support/reference-policies.ts';
import { range } from '../util/numbers.ts';

/** A cut through values closer than this is up to rounding. */
const NEAR = 1e-5;

/** Runs a policy and its reference side by side, as long as no decision is a matter of rounding. */
function compare(run: Run, policy: TestPolicy): void {
  const { model, cache } = openRun(run, policy);
  const options = cacheOptions(run, policy);
  const name = policy.name.replace(/^ada\((.*)\)$/, '$1');
  const floor = name === policy.name ? undefined : 0.2;
  const reference = new ReferenceCache(model, { ...options, policy: name, floor } as ReferenceOptions);
  for (const step of run.steps) {
    const tokens = stepTokens(cache, step);
    fakeStep(model, cache, tokens, step);
    reference.step(tokens[0], step.phase);
    if (reference.margin < NEAR) return;
    for (const l of range(model.shape.nLayer))
      for (const g of range(model.shape.nQueryGroups)) {
        const [actual, expected] = [cache.tokenPositions(l, 0, g), reference.positions(l, g)];
        if (!same(actual, expected)) expect.fail(`holds [${actual}] instead of [${expected}]`);
        const scores = cache.scores(l, 0, g);
        if (scores) expectNear(scores, reference.scores(l, g));
      }
  }
  told.compared++;
  if (cache.stats().evicted[0] > 0) told.evicted++;
}

const told = { compared: 0, evicted: 0 };

function expectNear(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  const size = Math.max(...expected.map(Math.abs), 0.01);
  for (const [j, x] of expected.entries())
    if (!(Math.abs(actual[j] - x) <= 1e-4 * size)) expect.fail(`scores ${actual} instead of ${expected}`);
}

const MIXES = ['mix(h2o, leverage)', 'mix(knorm, snapkv)', 'mix(h2o-max, h2o)', 'mix(echo, leverage)'];
const SHARED = SHARING_POLICIES.map((name) => `ada(${name})`);
const RUNS = 40;

describe('a policy holds what its definition says, with the scores that it says', () => {
  it.each([...EVICTING_POLICIES, ...MIXES, ...SHARED])('%s', (name) => {
    const lossy = name.includes('qh2o');
    const buffers = lossy
      ? (['int8', 'int4', 'float16'] as const)
      : (['float32', 'float32', 'int8', 'int4', 'float16'] as const);
    Object.assign(told, { compared: 0, evicted: 0 });
    const policy = { name, options: { policy: name }, safe: true, lossy };
    check(
      fc.property(anyRun({ buffers, headSizes: name.includes('expected') ? [2, 4, 6] : undefined }), (run) =>
        compare(run, policy),
      ),
      RUNS,
    );
    // Decisions by rounding are rare, and there were decisions.
    expect(told.compared).toBeGreaterThan(0.85 * RUNS);
    expect(told.evicted).toBeGreaterThan(0.5 * RUNS);
  });
});
