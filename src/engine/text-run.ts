/**
 * @file What all runs of `generate`, `chat` and `say` have, here and in a worker.
 */
import { refuseRetired } from '../util/retired.ts';
import type { GenerationResult, TextChunk } from './options.ts';

/** One run of `generate` or `chat`, here or in a worker. It can be iterated once. */
export abstract class TextRun implements AsyncIterable<TextChunk> {
  /** What came of it, whole or not; null until it has ended. */
  abstract get partial(): GenerationResult | null;
  /** Runs to the end. @throws what ended it before its time; {@link partial} says how far it came. */
  abstract result(): Promise<GenerationResult>;
  abstract [Symbol.asyncIterator](): AsyncGenerator<TextChunk, void, undefined>;

  /** Runs to the end. @returns all text. @throws as {@link result}. */
  async text(): Promise<string> {
    return (await this.result()).text;
  }

  /** @deprecated {@link result} */
  done(): never {
    return refuseRetired('done()', 'result()');
  }

  /** @deprecated {@link partial} */
  get summary(): never {
    return refuseRetired('summary', 'partial');
  }
}
