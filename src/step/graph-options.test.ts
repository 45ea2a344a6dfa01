import { expect, it } from 'vitest';
import type { StepGraphOptions } from '../model/gpt.ts';
import { graphKey } from './graph-options.ts';

const OPTIONS: Required<Omit<StepGraphOptions, 'adapters'>> = {
  sharing: 'none',
  buffer: 'int8',
  sums: false,
  maxima: false,
  echo: null,
  replay: null,
  moments: false,
  alongMean: false,
  cross: false,
  ragged: new Set(),
  merged: null,
  residuals: false,
};
/** Another value of each. The compiler refuses a list that lacks an option. */
const OTHERS: typeof OPTIONS = {
  sharing: 'by-window',
  buffer: 'int4',
  sums: true,
  maxima: true,
  echo: new Set(['0']),
  replay: new Set(['0']),
  moments: true,
  alongMean: true,
  cross: true,
  ragged: new Set([1]),
  merged: new Set(['0']),
  residuals: true,
};

it('gives another key for another value of any option, and the same key for the same values', () => {
  const names = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];
  const keys = names.map((name) => graphKey({ ...OPTIONS, [name]: OTHERS[name] }));
  expect(new Set([graphKey(OPTIONS), ...keys]).size).toBe(names.length + 1);
  expect(graphKey({ ...OTHERS, ragged: new Set([1]) })).toBe(graphKey(OTHERS));
  expect(graphKey({ ...OTHERS, ragged: new Set([1, 2]) })).not.toBe(graphKey(OTHERS));
});
