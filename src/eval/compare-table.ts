/**
 * @file A comparison as a table: cells for a terminal, and a Markdown document.
 */
import type { Interval } from './bootstrap.ts';
import { type CompareResult, checkResults, resultNote } from './compare.ts';
import { measuredWords } from './plot.ts';

interface Column {
  readonly title: string;
  /** Absent where the result does not have it. */
  readonly cell: (result: CompareResult) => string | undefined;
}

const percent = (part: number): string => `${Math.round(part * 100)} %`;
const fixed = (value: number, digits: number): string => value.toFixed(digits);
const range = (interval: Interval | undefined, show: (value: number) => string): string =>
  interval ? ` (${show(interval[0])} to ${show(interval[1])})` : '';
const short = (value: number): string => value.toPrecision(2);

const recallColumn = (question: 'after' | 'last-window', title: string): Column => ({
  title,
  cell: ({ recall, recallIntervals }) => {
    const part = recall[question];
    return part === undefined ? undefined : percent(part) + range(recallIntervals?.[question], percent);
  },
});

const COLUMNS: readonly Column[] = [
  { title: 'policy', cell: ({ policy }) => policy },
  {
    title: 'budget',
    cell: ({ budget, unit = 'slots', policy }) => (policy === 'dense' ? 'all' : `${percent(budget)} of ${unit}`),
  },
  {
    title: 'perplexity',
    cell: ({ perplexity, perplexityInterval }) =>
      perplexity === undefined
        ? undefined
        : fixed(perplexity, 2) + range(perplexityInterval, (value) => fixed(value, 2)),
  },
  {
    title: 'divergence',
    cell: ({ divergence, divergenceInterval }) =>
      divergence === undefined ? undefined : fixed(divergence, 4) + range(divergenceInterval, short),
  },
  recallColumn('last-window', 'recall, last window'),
  recallColumn('after', 'recall, after'),
  { title: 'ms/token', cell: ({ msPerToken, refused }) => (refused ? undefined : fixed(msPerToken, 2)) },
  {
    title: 'keys and values, kB',
    cell: ({ cacheBytes, refused }) => (refused ? undefined : fixed(cacheBytes / 1000, 1)),
  },
  { title: 'all, kB', cell: ({ totalBytes }) => (totalBytes === undefined ? undefined : fixed(totalBytes / 1000, 1)) },
  { title: 'note', cell: resultNote },
];

/** Title and cells of all columns that some result has; the dense cache first. @throws InputError for no results. */
export function comparisonCells(results: readonly CompareResult[]): string[][] {
  checkResults('comparisonCells', results);
  return cellsOf(results);
}

/** As {@link comparisonCells}, of results that are checked. */
function cellsOf(results: readonly CompareResult[]): string[][] {
  const columns = COLUMNS.filter(({ cell }) => results.some((result) => (cell(result) ?? '') !== ''));
  return [
    columns.map(({ title }) => title),
    ...results.map((result) => columns.map(({ cell }) => cell(result) ?? '-')),
  ];
}

/**
 * A comparison as a Markdown table, with what it was measured on. Brackets hold 95 % intervals, if there are any.
 * @throws InputError for no results.
 */
export function comparisonMarkdown(results: readonly CompareResult[]): string {
  checkResults('comparisonMarkdown', results);
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const [titles, ...cells] = cellsOf(results);
  const note = measuredWords(results);
  const hasIntervals = results.some(
    ({ perplexityInterval, recallIntervals = {} }) =>
      perplexityInterval ?? Object.values(recallIntervals).some(Boolean),
  );
  const brackets = hasIntervals ? ' In brackets: 95 % intervals (bootstrap).' : '';
  const table = [line(titles), line(titles.map(() => '---')), ...cells.map(line)].join('\n');
  return `${table}\n${note === '' ? '' : `\nMeasured on ${note}.${brackets}\n`}`;
}
