/**
 * @file A calibration in a terminal: one line for each query group, one letter for each layer.
 */
import { calibrationMap } from '../../kvcache/routing/calibration-map.ts';
import type { CalibrationTable } from '../../kvcache/routing/calibration-table.ts';
import type { Style } from './style.ts';

/** Up to a quarter of the mean, the mean, twice and four times the mean, and more. */
const SHADES: readonly (readonly [share: number, letter: string])[] = [
  [0.25, '·'],
  [1, '░'],
  [2, '▒'],
  [4, '▓'],
  [Number.POSITIVE_INFINITY, '█'],
];

/** Lines of a map of the slots at a tenth of the tokens; groups that read the past are coloured. */
export function calibrationLines(table: CalibrationTable, { cyan, dim }: Style): string[] {
  const { shares, retrieval } = calibrationMap(table);
  const groups = Math.max(0, ...shares.map((list) => list.length));
  const reading = retrieval.flat().filter((is) => is === 1).length;
  const lines = Array.from({ length: groups }, (_, g) => {
    const letters = shares.map((list, l) => {
      if (list[g] === undefined) return ' ';
      const [, letter] = SHADES.find(([share]) => list[g] <= share)!;
      return retrieval[l][g] === 1 ? cyan(letter) : letter;
    });
    return `  ${dim(`group ${g}`.padEnd(13))}${letters.join('')}`;
  });
  return [
    ...lines,
    dim(
      `  Slots at 10 % of the tokens, one letter a layer: · to 0.25 of the mean, ░ to 1, ▒ to 2, ▓ to 4, █ more. ` +
        `${reading} of ${shares.flat().length} groups read the past.`,
    ),
  ];
}
