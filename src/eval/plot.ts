/**
 * @file A comparison as a picture: quality against budget, one panel a measure, one line a policy.
 */
import type { CompareRow } from './compare.ts';

interface Panel {
  readonly title: string;
  readonly value: (row: CompareRow) => number | undefined;
  readonly format: (value: number) => string;
}

const percent = (value: number) => `${Math.round(value * 100)} %`;

const PANELS: readonly Panel[] = [
  { title: 'perplexity', value: (row) => row.perplexity, format: (x) => x.toFixed(1) },
  { title: 'recall, question in the last window', value: (row) => row.recall['last-window'], format: percent },
  { title: 'recall, question after the context', value: (row) => row.recall.after, format: percent },
  { title: 'ms a token', value: (row) => row.msPerToken, format: (x) => x.toFixed(2) },
  { title: 'cache, kB', value: (row) => row.cacheBytes / 1000, format: (x) => x.toFixed(0) },
];

/** Okabe and Ito's colours, which the colour-blind can tell apart; a second round is dashed. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7f7f7f'];

const WIDTH = 320;
const HEIGHT = 220;
const MARGIN = { left: 52, right: 12, top: 28, bottom: 34 };

/** The rows of a comparison as an SVG document. The dense cache is a dotted line. */
export function plotComparison(rows: readonly CompareRow[]): string {
  const panels = PANELS.filter(({ value }) => rows.some((row) => value(row) !== undefined));
  const names = [...new Set(rows.map(({ policy }) => policy))].filter((name) => name !== 'dense');
  const columns = Math.min(3, panels.length);
  const lines = Math.ceil(panels.length / columns);
  const legendHeight = 22 * Math.ceil(names.length / 4) + 12;
  const width = columns * WIDTH;
  const height = lines * HEIGHT + legendHeight;
  const parts = panels.map((panel, i) => {
    const at = `translate(${(i % columns) * WIDTH} ${Math.floor(i / columns) * HEIGHT})`;
    return `<g transform="${at}">${drawPanel(panel, rows, names)}</g>`;
  });
  parts.push(`<g transform="translate(0 ${lines * HEIGHT})">${drawLegend(names)}</g>`);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="system-ui, sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>${parts.join('')}</svg>\n`
  );
}

function drawPanel({ title, value, format }: Panel, rows: readonly CompareRow[], names: readonly string[]): string {
  const points = rows.flatMap((row) => value(row) ?? []);
  const [low, high] = [Math.min(...points), Math.max(...points)];
  const spread = high - low || 1;
  const budgets = [...new Set(rows.filter(({ policy }) => policy !== 'dense').map(({ budget }) => budget))].sort(
    (a, b) => a - b,
  );
  const logs = budgets.map(Math.log);
  const [left, right] = [logs[0] ?? 0, logs.at(-1) ?? 1];
  const x = (budget: number) =>
    MARGIN.left + ((Math.log(budget) - left) / (right - left || 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (v: number) => HEIGHT - MARGIN.bottom - ((v - low) / spread) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const parts = [`<text x="${MARGIN.left}" y="16" font-weight="600">${escaped(title)}</text>`];
  for (const tick of [low, (low + high) / 2, high])
    parts.push(
      `<path d="M${MARGIN.left} ${fixed(y(tick))}H${WIDTH - MARGIN.right}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 6}" y="${fixed(y(tick) + 4)}" text-anchor="end" fill="#555">${escaped(format(tick))}</text>`,
    );
  for (const budget of budgets)
    parts.push(
      `<text x="${fixed(x(budget))}" y="${HEIGHT - 14}" text-anchor="middle" fill="#555">${percent(budget)}</text>`,
    );
  const dense = rows.find(({ policy }) => policy === 'dense');
  const reference = dense && value(dense);
  if (reference !== undefined)
    parts.push(
      `<path d="M${MARGIN.left} ${fixed(y(reference))}H${WIDTH - MARGIN.right}" stroke="#000" stroke-dasharray="1 4"/>`,
    );
  names.forEach((name, i) => {
    const line = rows.filter(({ policy }) => policy === name).sort((a, b) => a.budget - b.budget);
    const path = line.flatMap((row) => {
      const v = value(row);
      return v === undefined ? [] : `${fixed(x(row.budget))} ${fixed(y(v))}`;
    });
    parts.push(`<path d="M${path.join('L')}" fill="none" stroke-width="1.8" ${stroke(i)}/>`);
  });
  return parts.join('');
}

function drawLegend(names: readonly string[]): string {
  const entries = ['dense', ...names].map((name, i) => {
    const at = `translate(${MARGIN.left + (i % 5) * 150} ${12 + 20 * Math.floor(i / 5)})`;
    const line = i === 0 ? 'stroke="#000" stroke-dasharray="1 4"' : stroke(i - 1);
    return `<g transform="${at}"><path d="M0 0H22" stroke-width="1.8" ${line}/><text x="28" y="4">${escaped(name)}</text></g>`;
  });
  return entries.join('');
}

const stroke = (i: number): string =>
  `stroke="${COLOURS[i % COLOURS.length]}"${i >= COLOURS.length ? ' stroke-dasharray="5 3"' : ''}`;
const fixed = (x: number): string => x.toFixed(1);
const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
