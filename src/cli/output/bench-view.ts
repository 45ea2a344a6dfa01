/**
 * @file What `keyhold bench` found, as people read it.
 */
import type { SpeedResult, SpeedSearch, SpeedSettings, SpeedTrial } from '../../exports/eval.ts';
import { bufferName } from '../../exports/policies.ts';
import { bytes, counted, duration, rate } from './format.ts';
import type { Style } from './style.ts';

/** Also what --json prints. */
export interface BenchReport {
  readonly model: string;
  readonly settings: SpeedSettings;
  readonly cache: { readonly policy: string; readonly cacheLength: number };
  readonly speed: SpeedResult;
  readonly memory: { readonly peakBytes: number; readonly estimateBytes: number; readonly cacheBytes: number };
  /** null where nothing else was tried. */
  readonly search: SpeedSearch | null;
}

const LABEL = 13;

export function benchLines(report: BenchReport, { bold, dim, green }: Style): string[] {
  const { settings, cache, speed, memory, search } = report;
  const row = (label: string, text: string) => `  ${dim(label.padEnd(LABEL))}${text}`;
  const lines = [
    `${bold(report.model)}  ${settingsWords(settings)}`,
    row('reading', `${rate(speed.prefillSpeed)} tokens a second (a prompt of ${counted(speed.promptTokens, 'token')})`),
    row('writing', `${rate(speed.decodeSpeed)} tokens a second (${counted(speed.newTokens, 'token')})`),
    row('first token', `after ${duration(speed.firstTokenMs)}`),
    row('cache', `${cache.policy}, ${counted(cache.cacheLength, 'token')}, ${bytes(memory.cacheBytes)} at the end`),
    row('memory', `${bytes(memory.peakBytes)} at most (estimated: ${bytes(memory.estimateBytes)})`),
    dim(`  Medians of ${counted(speed.rounds, 'round')}.`),
  ];
  if (!search) return lines;
  const { trials, fastest } = search;
  const [first] = trials;
  return [
    ...lines,
    '',
    bold('What else was tried'),
    dim(columns(['threads', 'weights', 'chunk', 'buffer', 'reading', 'writing', 'together'])),
    ...trials.map((trial) => (trial === fastest ? `${trialLine(trial)}  ${green('← fastest')}` : trialLine(trial))),
    '',
    fastest === first
      ? 'Nothing was notably faster than these settings.'
      : `Fastest here: ${flagsOf(fastest)} (${(first.totalMs / fastest.totalMs).toFixed(2)} times as fast).`,
    ...(loses(first, fastest)
      ? [dim('Fewer bits of weights or cache also cost some quality: keyhold eval tells how much.')]
      : []),
  ];
}

function settingsWords({ weights, threads, chunkLength, buffer }: SpeedSettings): string {
  return `weights ${weights}, ${counted(threads, 'thread')}, chunks of ${counted(chunkLength, 'token')}, cache in ${bufferName(buffer)}`;
}

function trialLine({ threads, weights, chunkLength, buffer, prefillSpeed, decodeSpeed, totalMs }: SpeedTrial): string {
  return columns([
    `${threads}`,
    weights,
    `${chunkLength}`,
    bufferName(buffer),
    rate(prefillSpeed),
    rate(decodeSpeed),
    duration(totalMs),
  ]);
}

function columns(cells: readonly string[]): string {
  return cells.map((cell) => cell.padStart(9)).join(' ');
}

function flagsOf({ threads, weights, chunkLength, buffer }: SpeedSettings): string {
  return `--threads ${threads} --weights ${weights} --chunk-length ${chunkLength} --cache-buffer ${bufferName(buffer)}`;
}

/** Whether the faster settings keep less of the weights or the cache. */
function loses(from: SpeedSettings, to: SpeedSettings): boolean {
  return from.weights !== to.weights || bufferName(from.buffer) !== bufferName(to.buffer);
}
