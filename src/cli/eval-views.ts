/**
 * @file Evaluations as people read them.
 */
import type { CompareRow, PerplexityResult, QuestionPosition, RecallResult } from '../exports/eval.ts';
import { bytes, counted, whole } from './format.ts';

export function perplexityLines(result: PerplexityResult): string[] {
  return [
    `perplexity  ${result.perplexity.toFixed(2)}  (${result.loss.toFixed(4)} nats a token)`,
    `over        ${counted(result.tokens, 'token')} in ${counted(result.windows, 'window')}`,
    costLine(result),
  ];
}

export function recallLines(result: RecallResult, question: QuestionPosition): string[] {
  const parts = (values: Readonly<Record<string, number>>) =>
    Object.entries(values).map(([name, part]) => `${name.trim()}: ${percent(part)}`);
  return [
    `recall      ${percent(result.recall)}  (${whole(result.right)} of ${counted(result.cases, 'case')})`,
    `question    ${question === 'after' ? 'after the context is in the cache' : 'in the last window of the prompt'}`,
    `by length   ${parts(result.byLength).join(', ')}`,
    `by depth    ${parts(result.byDepth).join(', ')}`,
    costLine(result),
  ];
}

function costLine({ msPerToken, cacheBytes }: { readonly msPerToken: number; readonly cacheBytes: number }): string {
  return `cost        ${msPerToken.toFixed(2)} ms a token, ${bytes(cacheBytes)} of keys and values`;
}

/** One line a policy and budget, the dense cache first. */
export function comparisonTable(rows: readonly CompareRow[]): string[] {
  const header = ['policy', 'budget', 'perplexity', 'recall, last window', 'recall, after', 'ms/token', 'cache'];
  const cells = rows.map((row) => [
    row.policy,
    percent(row.budget),
    row.perplexity?.toFixed(2) ?? '-',
    row.recall['last-window'] === undefined ? '-' : percent(row.recall['last-window']),
    row.recall.after === undefined ? '-' : percent(row.recall.after),
    row.msPerToken.toFixed(2),
    bytes(row.cacheBytes),
  ]);
  const widths = header.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i].length)));
  return [header, ...cells].map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
  );
}

const percent = (part: number): string => `${Math.round(part * 100)} %`;
