/**
 * @file A calibration as a picture: one square for each query group of each layer, darker where it gets more slots.
 */
import { type CalibrationMap, calibrationMap } from '../kvcache/routing/calibration-map.ts';
import { type CalibrationTable, readCalibrationTable } from '../kvcache/routing/calibration-table.ts';
import { InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';

const SIZE = 18;
const MARGIN = { left: 64, top: 34, bottom: 44, right: 16 };
const LEAST_WIDTH = 420;

/** Shades of 0 to 1, 1 to 2, … times the mean. */
const SHADES = ['#f1f5fa', '#c6dbef', '#9ecae1', '#6baed6', '#3182bd', '#08519c', '#08306b'] as const;

/**
 * An SVG document: layers from left to right, query groups from top to bottom; a dot marks groups that read the past.
 * @param part of a sequence's tokens that the cache keeps. @default 0.1
 * @throws InputError for what is no calibration table.
 */
export function plotCalibration(table: CalibrationTable, part = 0.1): string {
  if (!(part > 0 && part <= 1))
    throw new InputError(`the part of plotCalibration must be above 0 and at most 1, but is ${shown(part)}`);
  const map = calibrationMap(readCalibrationTable(table), part);
  const layers = map.shares.length;
  const groups = Math.max(1, ...map.shares.map((list) => list.length));
  const width = Math.max(LEAST_WIDTH, MARGIN.left + layers * SIZE + MARGIN.right);
  const height = MARGIN.top + groups * SIZE + MARGIN.bottom;
  const squares = map.shares.flatMap((list, l) => list.map((_, g) => square(map, l, g)));
  const numbers = Array.from({ length: layers }, (_, l) => l).filter((l) => l % 5 === 0);
  const axis = numbers.map(
    (l) => `<text x="${MARGIN.left + (l + 0.5) * SIZE}" y="${MARGIN.top - 6}" text-anchor="middle">${l}</text>`,
  );
  const rows = Array.from({ length: groups }, (_, g) => {
    const y = MARGIN.top + (g + 0.5) * SIZE + 4;
    return `<text x="${MARGIN.left - 6}" y="${y}" text-anchor="end">group ${g}</text>`;
  });
  const note =
    `slots at ${Math.round(100 * part)} % of the tokens, in parts of the mean: white 0 to 1, darkest above ${SHADES.length - 1}; ` +
    'dot: reads the past';
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    'font-family="system-ui, sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>' +
    `<text x="${MARGIN.left}" y="14">layer</text>${axis.join('')}${rows.join('')}${squares.join('')}` +
    `<text x="${MARGIN.left}" y="${height - 16}" fill="#555">${note}</text></svg>\n`
  );
}

function square({ shares, retrieval }: CalibrationMap, layer: number, group: number): string {
  const share = shares[layer][group];
  const [x, y] = [MARGIN.left + layer * SIZE, MARGIN.top + group * SIZE];
  const shade = Math.min(SHADES.length - 1, Math.floor(share));
  const title = `<title>layer ${layer}, group ${group}: ${share.toFixed(2)} of the mean</title>`;
  const rect = `<rect x="${x}" y="${y}" width="${SIZE - 1}" height="${SIZE - 1}" fill="${SHADES[shade]}">${title}</rect>`;
  if (retrieval[layer][group] !== 1) return rect;
  const colour = shade > 3 ? '#fff' : '#000';
  return `${rect}<circle cx="${x + (SIZE - 1) / 2}" cy="${y + (SIZE - 1) / 2}" r="2.5" fill="${colour}"/>`;
}
