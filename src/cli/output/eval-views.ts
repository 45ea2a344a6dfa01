/**
 * @file Evaluations as people read them.
 */
import type { Cost } from '../../eval/cost.ts';
import {
  type CompareResult,
  comparisonCells,
  type DivergenceResult,
  type Interval,
  type PerplexityResult,
  type QuestionPosition,
  type RecallResult,
  type RulerResult,
  type RulerScore,
} from '../../exports/eval.ts';
import { bytes, counted, whole } from './format.ts';

export function perplexityLines(result: PerplexityResult): string[] {
  return [
    `perplexity  ${result.perplexity.toFixed(2)}  (${range(result.interval, (end) => end.toFixed(2), 'chunks')}; ${result.loss.toFixed(4)} nats a token)`,
    `over        ${counted(result.tokens, 'token')} in ${counted(result.windows, 'window')}`,
    costLine(result),
  ];
}

export function recallLines(result: RecallResult, question: QuestionPosition): string[] {
  const parts = (values: Readonly<Record<string, number>>) =>
    Object.entries(values).map(([name, part]) => `${name.trim()}: ${percent(part)}`);
  return [
    `recall      ${percent(result.recall)}  (${whole(result.right)} of ${counted(result.cases, 'case')}; ${range(result.interval, percent)})`,
    `question    ${question === 'after' ? 'after the context is in the cache' : 'in the last window of the prompt'}`,
    `by length   ${parts(result.byLength).join(', ')}`,
    `by depth    ${parts(result.byDepth).join(', ')}`,
    ...(Object.keys(result.byKind).length > 0 ? [`by kind     ${parts(result.byKind).join(', ')}`] : []),
    costLine(result),
  ];
}

function costLine({ msPerToken, cacheBytes, totalBytes }: Cost): string {
  return `cost        ${msPerToken.toFixed(2)} ms a token, ${bytes(cacheBytes)} of keys and values, ${bytes(totalBytes)} in all`;
}

export function rulerLines(result: RulerResult): string[] {
  const tasks = Object.entries(result.tasks);
  const width = Math.max(...tasks.map(([name]) => name.length), 10);
  const row = (name: string, { score, interval, cases }: RulerScore) =>
    `${name.padEnd(width)}  ${percent(score).padStart(5)}  (${range(interval, percent)}; ${counted(cases, 'case')})`;
  return [
    ...tasks.map(([name, score]) => row(name, score)),
    row('all', result),
    `${'length'.padEnd(width)}  ${counted(result.length, 'token')}`,
    costLine(result).replace('cost      ', 'cost'.padEnd(width)),
  ];
}

/** One line a policy and budget, the dense cache first. */
export function comparisonTable(results: readonly CompareResult[]): string[] {
  const cells = comparisonCells(results);
  const widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const last = widths.length - 1;
  const isText = (i: number) => i === 0 || (i === last && cells[0][i] === 'note');
  return cells.map((row) =>
    row
      .map((cell, i) => (isText(i) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

export function divergenceLines(result: DivergenceResult): string[] {
  const small = (value: number) => value.toPrecision(3);
  return [
    `divergence  ${small(result.divergence)} nats a position  (${range(result.interval, small, 'chunks')})`,
    `by eighths  ${result.byPart.map(small).join(', ')}`,
    `same top    ${(100 * result.sameTop).toFixed(1)} % of the positions`,
    `perplexity  ${result.perplexity.toFixed(2)}  (dense ${result.densePerplexity.toFixed(2)})`,
    `over        ${counted(result.tokens, 'token')} in ${counted(result.windows, 'window')}`,
    costLine(result),
  ];
}

function range(interval: Interval | null, show: (value: number) => string, values = 'cases'): string {
  return interval ? `95 %: ${interval.map(show).join(' to ')}` : `too few ${values} for an interval`;
}

const percent = (part: number): string => `${Math.round(part * 100)} %`;
