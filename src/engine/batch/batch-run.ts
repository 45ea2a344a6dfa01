/**
 * @file What runs of `generateBatch` tell, here and in a worker.
 */
import { refuseRetired } from '../../util/retired.ts';
import type { GenerationResult, TextChunk } from '../options.ts';

/** What happens to a request: some chunks of text, then one end or one error. */
export type BatchEvent =
  | ({ readonly type: 'text'; readonly id: string | number } & TextChunk)
  | { readonly type: 'end'; readonly id: string | number; readonly result: GenerationResult }
  /** Of this request alone; `partial` says how far it came, null: it did not begin. */
  | {
      readonly type: 'error';
      readonly id: string | number;
      readonly error: unknown;
      readonly partial: GenerationResult | null;
    };

/** How a request ended. */
export type BatchResult = Exclude<BatchEvent, { type: 'text' }>;

/** One run of `generateBatch`, here or in a worker. It can be iterated once. */
export abstract class BatchRun implements AsyncIterable<BatchEvent> {
  abstract [Symbol.asyncIterator](): AsyncGenerator<BatchEvent, void, undefined>;

  /**
   * Runs to the end.
   * @returns how each request ended, in the order in which they did.
   * @throws what ends the whole batch: an abort, or a source that throws. A request's own errors are among the results.
   */
  async results(): Promise<BatchResult[]> {
    const results: BatchResult[] = [];
    for await (const event of this) if (event.type !== 'text') results.push(event);
    return results;
  }

  /** @deprecated {@link results} */
  done(): never {
    return refuseRetired('done()', 'results()');
  }
}
