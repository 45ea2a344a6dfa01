/**
 * @file What is said after a run: a few lines for people, one object for programs.
 */
import type { LanguageModel, SamplingOptions } from '../../index.ts';
import { type RunRecord, tokensPerSecond } from '../record.ts';
import type { CacheReport } from './cache-report.ts';
import { bytes, counted, duration, ranges, rate, whole } from './format.ts';

/** What belongs to a run besides its record. */
export interface RunFacts {
  readonly model: LanguageModel;
  readonly loadMs: number;
  readonly sampling: SamplingOptions;
}

/** More ranges than this tell a person nothing. */
const RANGES_SHOWN = 4;

/** Three lines: speed, cache, memory. */
export function summaryLines(record: RunRecord, { model, sampling }: RunFacts): string[] {
  const { tokens, promptTokens, prefillMs, decodeMs } = record;
  const speed = tokensPerSecond(record);
  const seed = sampling.temperature ? ` · seed ${sampling.seed}` : '';
  return [
    `${counted(tokens.length, 'token')} in ${duration(decodeMs)}${Number.isNaN(speed) ? '' : ` (${rate(speed)} a second)`}` +
      `, prompt of ${counted(promptTokens, 'token')} in ${duration(prefillMs)} · ${ending(record)}`,
    cacheLine(record.cache),
    `memory: ${bytes(process.memoryUsage.rss())} in all, weights ${model.weights}${seed}`,
  ];
}

/** What a cache holds, what it dropped, and what that takes. */
export function cacheLine(cache: CacheReport): string {
  const { policy, seen, held, evicted, bytes: size, limitBytes, denseBytes } = cache;
  if (evicted === 0)
    return `cache (${policy}): holds all ${counted(seen, 'token')}, ${bytes(size)} of at most ${bytes(limitBytes)}`;
  const where = heldText(cache);
  return (
    `cache (${policy}): holds ${whole(held)} of ${counted(seen, 'token')}${where === '' ? '' : ` (${where})`}, ` +
    `dropped ${whole(evicted)} · ${bytes(size)}, a dense cache would take ${bytes(denseBytes)}`
  );
}

/** Positions of what is held, where that can be said in a few words. */
function heldText({ positions }: CacheReport): string {
  const full = positions?.find(({ window }) => window === null) ?? positions?.[0];
  if (!full || full.positions.length > RANGES_SHOWN) return '';
  const all = positions?.length === 1 ? '' : `in ${counted(full.layers.length, 'layer')}: `;
  return `${all}positions ${ranges(full.positions)}`;
}

function ending({ finishReason, stopString }: RunRecord): string {
  switch (finishReason) {
    case 'eos':
      return 'the model ended';
    case 'stop':
      return `stopped at ${JSON.stringify(stopString)}`;
    case 'length':
      return 'length reached';
    case 'aborted':
    case 'error':
      return 'not finished';
    default:
      return finishReason satisfies never;
  }
}

/** The object that --json prints. Times are in milliseconds, sizes in bytes. */
export function summaryJson(record: RunRecord, { model, loadMs, sampling }: RunFacts): Record<string, unknown> {
  const { text, tokens, logprobs, promptTokens, finishReason, stopString, prefillMs, decodeMs, speculation, cache } =
    record;
  const speed = tokensPerSecond(record);
  return {
    model: model.name,
    weights: model.weights,
    text,
    tokens,
    ...(logprobs ? { logprobs } : {}),
    promptTokens,
    finishReason,
    ...(stopString === undefined ? {} : { stopString }),
    sampling,
    timings: { loadMs, prefillMs, decodeMs, tokensPerSecond: Number.isNaN(speed) ? null : speed },
    ...(speculation ? { speculation } : {}),
    cache,
    memory: { rssBytes: process.memoryUsage.rss() },
  };
}
