/**
 * @file A comparison as a picture: quality against budget, one panel a measure, one line a policy.
 */
import type { Interval } from './bootstrap.ts';
import { type CompareResult, checkResults } from './compare.ts';
import { niceTicks, seriesStyle, sharedDashes, textWidth } from './plot-style.ts';
import type { QuestionPosition } from './recall.ts';

interface Panel {
  readonly title: string;
  readonly value: (result: CompareResult) => number | undefined;
  /** Where the value lies for sure, as far as that was measured. */
  readonly interval?: (result: CompareResult) => Interval | undefined;
  readonly format: (value: number) => string;
  /** Upper end of the axis; that of the largest value where it is left out. */
  readonly high?: number;
}

const percent = (value: number) => `${Math.round(value * 100)} %`;
const plain = (value: number) => value.toLocaleString('en', { maximumSignificantDigits: 3 });

const PANELS: readonly Panel[] = [
  {
    title: 'perplexity',
    value: ({ perplexity }) => perplexity,
    interval: ({ perplexityInterval }) => perplexityInterval,
    format: plain,
  },
  {
    title: 'divergence from the dense cache, nats',
    value: ({ divergence }) => divergence,
    interval: ({ divergenceInterval }) => divergenceInterval,
    format: plain,
  },
  recallPanel('recall, question in the last window', 'last-window'),
  recallPanel('recall, question after the context', 'after'),
  { title: 'ms a token', value: ({ refused, msPerToken }) => (refused ? undefined : msPerToken), format: plain },
  {
    title: 'cache, kB',
    value: ({ refused, totalBytes, cacheBytes }) => (refused ? undefined : (totalBytes ?? cacheBytes) / 1000),
    format: plain,
  },
];

function recallPanel(title: string, question: QuestionPosition): Panel {
  return {
    title,
    value: ({ recall }) => recall[question],
    interval: ({ recallIntervals }) => recallIntervals?.[question],
    format: percent,
    high: 1,
  };
}

const WIDTH = 330;
const HEIGHT = 230;
const MARGIN = { left: 56, right: 24, top: 30, bottom: 36 };
const LEGEND = { row: 20, gap: 24, mark: 34 };

/**
 * A comparison as an SVG document. The dense cache is a dotted line; thin lines are 95 % intervals, as far
 * as a panel reaches; every axis begins at 0.
 * @throws InputError for no results.
 */
export function plotComparison(results: readonly CompareResult[]): string {
  checkResults('plotComparison', results);
  const panels = PANELS.filter(({ value }) => results.some((result) => value(result) !== undefined));
  const names = [...new Set(results.map(({ policy }) => policy))].filter((name) => name !== 'dense');
  const columns = Math.max(1, Math.min(3, panels.length));
  const width = columns * WIDTH;
  const legend = drawLegend(names, width);
  const unit = results.some(({ unit }) => unit === 'bytes') ? 'parts of the bytes of a dense float16 cache' : '';
  const note = [measuredWords(results), unit].filter((text) => text !== '').join('; ');
  const below = Math.ceil(panels.length / columns) * HEIGHT;
  const height = below + legend.height + (note === '' ? 0 : 20);
  const parts = panels.map((panel, i) => {
    const at = `translate(${(i % columns) * WIDTH} ${Math.floor(i / columns) * HEIGHT})`;
    return `<g transform="${at}">${drawPanel(panel, results, names)}</g>`;
  });
  parts.push(`<g transform="translate(0 ${below})">${legend.svg}</g>`);
  if (note !== '') parts.push(`<text x="${MARGIN.left}" y="${height - 8}" fill="#555">${escaped(note)}</text>`);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="system-ui, sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>${parts.join('')}</svg>\n`
  );
}

/** `4 windows of text, 3 recall cases (too few for intervals)` */
export function measuredWords(results: readonly CompareResult[]): string {
  const [{ windows, perplexityInterval, cases, recallIntervals = {} }] = results;
  const count = (n: number | undefined, one: string, many: string, hasInterval: boolean) =>
    n === undefined
      ? []
      : [`${n.toLocaleString('en')} ${n === 1 ? one : many}${hasInterval ? '' : ' (too few for intervals)'}`];
  return [
    ...count(windows, 'window of text', 'windows of text', perplexityInterval !== undefined),
    ...count(cases, 'recall case', 'recall cases', Object.values(recallIntervals).some(Boolean)),
  ].join(', ');
}

interface Point {
  readonly x: number;
  readonly y: number;
  /** The ends of its interval. */
  readonly ends?: readonly [low: number, high: number];
}

function drawPanel(
  { title, value, interval, format, high }: Panel,
  results: readonly CompareResult[],
  names: readonly string[],
): string {
  const ticks = niceTicks(high ?? Math.max(...results.flatMap((result) => value(result) ?? [])));
  const budgets = [...new Set(results.filter(({ policy }) => policy !== 'dense').map(({ budget }) => budget))].sort(
    (a, b) => a - b,
  );
  const [first, last] = [Math.log(budgets[0] ?? 1), Math.log(budgets.at(-1) ?? 1)];
  const [inner, tall] = [WIDTH - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  // A single budget stands in the middle.
  const x = (budget: number) =>
    MARGIN.left + (last === first ? 0.5 : (Math.log(budget) - first) / (last - first)) * inner;
  const y = (v: number) => HEIGHT - MARGIN.bottom - (v / ticks.at(-1)!) * tall;
  const parts = [`<text x="${MARGIN.left}" y="16" font-weight="600">${escaped(title)}</text>`];
  for (const tick of ticks)
    parts.push(
      `<path d="M${MARGIN.left} ${fixed(y(tick))}H${WIDTH - MARGIN.right}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 6}" y="${fixed(y(tick) + 4)}" text-anchor="end" fill="#555">${escaped(format(tick))}</text>`,
    );
  for (const budget of budgets)
    parts.push(
      `<text x="${fixed(x(budget))}" y="${HEIGHT - 16}" text-anchor="middle" fill="#555">${percent(budget)}</text>`,
    );
  const dense = results.find(({ policy }) => policy === 'dense');
  const reference = dense && value(dense);
  if (reference !== undefined)
    parts.push(
      `<path d="M${MARGIN.left} ${fixed(y(reference))}H${WIDTH - MARGIN.right}" stroke="#000" stroke-dasharray="1 4"/>`,
    );
  const lines = names.map((name): Point[] =>
    results
      .filter(({ policy }) => policy === name)
      .sort((a, b) => a.budget - b.budget)
      .flatMap((result) => {
        const v = value(result);
        if (v === undefined) return [];
        const ends = interval?.(result)?.map((end) => y(Math.max(0, Math.min(end, ticks.at(-1)!))));
        return [{ x: x(result.budget), y: y(v), ...(ends && { ends: [ends[0], ends[1]] as const }) }];
      }),
  );
  const paths = lines.map((line) => line.map((point) => `${fixed(point.x)} ${fixed(point.y)}`).join('L'));
  const dashes = sharedDashes(paths);
  lines.forEach((line, i) => {
    if (line.length === 0) return;
    const { colour, marker } = seriesStyle(i);
    parts.push(`<path d="M${paths[i]}" fill="none" stroke="${colour}" stroke-width="1.8"${dashes[i]}/>`);
    for (const { ends, ...point } of line) {
      // Beside each other, as lines may lie on each other.
      const at = point.x + (i - (names.length - 1) / 2) * Math.min(2, 20 / names.length);
      if (ends && ends[0] !== ends[1])
        parts.push(
          `<path d="M${fixed(at)} ${fixed(ends[0])}V${fixed(ends[1])}" stroke="${colour}" stroke-opacity="0.5"/>`,
        );
      parts.push(marker(point.x, point.y));
    }
  });
  return parts.join('');
}

function drawLegend(names: readonly string[], width: number): { readonly svg: string; readonly height: number } {
  let [x, line] = [MARGIN.left, 0];
  const svg = ['dense', ...names].map((name, i) => {
    const size = LEGEND.mark + textWidth(name) + LEGEND.gap;
    if (x > MARGIN.left && x + size - LEGEND.gap > width - MARGIN.right) [x, line] = [MARGIN.left, line + 1];
    const at = `translate(${fixed(x)} ${12 + LEGEND.row * line})`;
    x += size;
    const mark =
      i === 0
        ? '<path d="M0 0H26" stroke="#000" stroke-width="1.8" stroke-dasharray="1 4"/>'
        : `<path d="M0 0H26" stroke="${seriesStyle(i - 1).colour}" stroke-width="1.8"/>${seriesStyle(i - 1).marker(13, 0)}`;
    return `<g transform="${at}">${mark}<text x="${LEGEND.mark}" y="4">${escaped(name)}</text></g>`;
  });
  return { svg: svg.join(''), height: LEGEND.row * (line + 1) + 8 };
}

const fixed = (x: number): string => x.toFixed(1);
const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
