/**
 * The schemas of MaskBench that have passed before. Skipped without KEYHOLD_MASKBENCH, a folder with maskbench/data of
 * guidance-ai/jsonschemabench.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { maskBench, RATCHET } from './support/maskbench.ts';

const FOLDER = process.env.KEYHOLD_MASKBENCH;
const EVERY = 8;

it.skipIf(!FOLDER)(
  'one of eight schemas: at least 85 % pass, none that passed fails, nothing invalid is taken',
  () => {
    const known = new Set<string>(JSON.parse(readFileSync(RATCHET, 'utf8')));
    const results = [...maskBench(FOLDER!, EVERY)];
    const of = (outcome: string) => results.filter((each) => each.outcome === outcome);
    expect(results.length).toBeGreaterThan(1000);
    expect(of('acceptsInvalid')).toEqual([]);
    expect(of('failed')).toEqual([]);
    expect(of('passed').length / results.length).toBeGreaterThan(0.85);
    expect(results.filter(({ name, outcome }) => known.has(name) && outcome !== 'passed')).toEqual([]);
  },
  300_000,
);
