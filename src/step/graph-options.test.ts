import { expect, it } from 'vitest';
import type { StepGraphOptions } from '../model/gpt.ts';
import { graphKey } from './graph-options.ts';

/** Layer 1 reads its groups so. */
const partsOf = (...groups: readonly (readonly number[])[]) =>
  new Map([[1, { parts: groups.map((own, i) => ({ name: `1.${i}`, groups: own })), gathers: true }]]);

const OPTIONS: Required<Omit<StepGraphOptions, 'adapters'>> = {
  sharing: 'none',
  buffer: 'int8',
  sums: null,
  sumStep: 1,
  maxima: false,
  echo: null,
  echoOfHeld: null,
  replay: null,
  moments: false,
  alongMean: false,
  cross: false,
  parts: new Map(),
  merged: null,
  residuals: false,
};
/** Another value of each. The compiler refuses a list that lacks an option. */
const OTHERS: typeof OPTIONS = {
  sharing: 'by-window',
  buffer: 'int4',
  sums: new Set(['0']),
  sumStep: 8,
  maxima: true,
  echo: new Set(['0']),
  echoOfHeld: new Set(['0']),
  replay: new Set(['0']),
  moments: true,
  alongMean: true,
  cross: true,
  parts: partsOf([0], [1]),
  merged: new Set(['0']),
  residuals: true,
};

it('gives another key for another value of any option, and the same key for the same values', () => {
  const names = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];
  const keys = names.map((name) => graphKey({ ...OPTIONS, [name]: OTHERS[name] }));
  expect(new Set([graphKey(OPTIONS), ...keys]).size).toBe(names.length + 1);
  expect(graphKey({ ...OTHERS, parts: partsOf([0], [1]) })).toBe(graphKey(OTHERS));
  for (const parts of [partsOf([0, 1]), partsOf([0], [1, 2])])
    expect(graphKey({ ...OTHERS, parts })).not.toBe(graphKey(OTHERS));
});
