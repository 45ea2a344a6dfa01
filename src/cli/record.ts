/**
 * @file One run of the model, and the record of what came of it, whole or not.
 */
import type { SpeculationStats } from '../engine/speculate/drafter.ts';
import type { FinishReason, GeneratedToken, GenerateOptions, LanguageModel } from '../index.ts';
import { type CacheReport, heldShare, reportCache } from './output/cache-report.ts';

/** All that is known about a run. */
export interface RunRecord {
  readonly text: string;
  readonly tokens: readonly number[];
  /** As the library gives them, where `--logprobs` asked for them. */
  readonly logprobs?: readonly GeneratedToken[];
  readonly speculation?: SpeculationStats;
  readonly promptTokens: number;
  readonly finishReason: FinishReason;
  readonly stopString?: string;
  /** Until the first token could be chosen. */
  readonly prefillMs: number;
  /** For the tokens after it. */
  readonly decodeMs: number;
  readonly cache: CacheReport;
  /** Per position: the share of layers and groups that hold it. */
  readonly heldShare: Float32Array;
}

export interface Run {
  readonly record: RunRecord;
  /** What ended it before its time. */
  readonly error?: unknown;
}

/**
 * Generates, and keeps a record also where it is interrupted or fails.
 * @param onText is awaited, so that a slow reader slows the model down.
 */
export async function recordRun(
  model: LanguageModel,
  prompt: readonly number[],
  options: GenerateOptions,
  onText: (text: string) => Promise<void>,
): Promise<Run> {
  const generation = model.generate(prompt, options);
  let error: unknown;
  try {
    for await (const { text } of generation) await onText(text);
  } catch (cause) {
    error = cause;
  }
  const { tokens, usage, timings, ...result } = generation.partial!;
  return {
    error,
    record: {
      ...result,
      ...timings,
      promptTokens: usage.promptTokens,
      tokens: tokens.map(({ token }) => token),
      logprobs: options.topLogprobs === undefined ? undefined : tokens,
      cache: reportCache(generation.cache, model.config),
      heldShare: heldShare(generation.cache, model.config),
    },
  };
}

/** The first token comes with the prompt's logits, so it took no step of its own. */
export function tokensPerSecond({ tokens, decodeMs }: RunRecord): number {
  return tokens.length > 1 && decodeMs > 0 ? ((tokens.length - 1) * 1000) / decodeMs : Number.NaN;
}
