/**
 * @file One run of the model, and the record of what came of it, whole or not.
 */
import type { FinishReason, GenerateOptions, LanguageModel } from '../index.ts';
import { type CacheReport, heldShare, reportCache } from './cache-report.ts';

/** All that is known about a run. */
export interface RunRecord {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly promptTokens: number;
  /** `interrupted`: by Ctrl-C; `failed`: by an error. */
  readonly finishReason: FinishReason | 'interrupted' | 'failed';
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
  let prefillDone = Number.NaN;
  const generation = model.generate(prompt, {
    ...options,
    onPrefill: (done, total) => {
      if (done === total) prefillDone = performance.now();
      options.onPrefill?.(done, total);
    },
  });
  let text = '';
  const tokens: number[] = [];
  const begin = performance.now();
  let error: unknown;
  let interrupted = false;
  try {
    for await (const piece of generation) {
      text += piece.text;
      for (const { token } of piece.tokens) tokens.push(token);
      await onText(piece.text);
    }
  } catch (cause) {
    error = cause;
    interrupted = options.signal?.aborted === true;
  }
  const end = performance.now();
  const { summary } = generation;
  const prefilled = Number.isNaN(prefillDone) ? end : prefillDone;
  return {
    error,
    record: {
      text,
      tokens,
      promptTokens: prompt.length,
      finishReason: summary?.finishReason ?? (interrupted ? 'interrupted' : 'failed'),
      stopString: summary?.stopString,
      prefillMs: prefilled - begin,
      decodeMs: end - prefilled,
      cache: reportCache(generation.cache, model.config),
      heldShare: heldShare(generation.cache, model.config),
    },
  };
}

/** The first token comes with the prompt's logits, so it took no step of its own. */
export function tokensPerSecond({ tokens, decodeMs }: RunRecord): number {
  return tokens.length > 1 && decodeMs > 0 ? ((tokens.length - 1) * 1000) / decodeMs : Number.NaN;
}
