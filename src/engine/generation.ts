/**
 * @file Generation: one sequence, as its reader follows it.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import { InputError } from '../util/errors.ts';
import { leaveWhenDropped } from './dropped.ts';
import type { DecoderModel } from './model.ts';
import type { GenerationResult, SequenceRequest, TextChunk } from './options.ts';
import type { Scheduler } from './schedule/scheduler.ts';
import { Sequence, type SequenceEnd, type SequenceReader } from './schedule/sequence.ts';
import { TextRun } from './text-run.ts';

/**
 * One run of {@link LanguageModel.generate}: iterate over it for the text as it comes, or await `result()` or `text()`.
 * While it is not read it takes no steps.
 */
export class Generation extends TextRun implements SequenceReader {
  /** @internal */
  readonly keepsCache = true;
  readonly #scheduler: Scheduler;
  readonly #sequence: Sequence;
  readonly #chunks: TextChunk[] = [];
  #started = false;
  #end: SequenceEnd | null = null;
  /** Resolves the reader's wait. */
  #wake: (() => void) | null = null;

  /** @internal @throws InputError */
  constructor(scheduler: Scheduler, model: DecoderModel, request: SequenceRequest) {
    super();
    this.#scheduler = scheduler;
    this.#sequence = new Sequence(model, request, this);
  }

  /** The cache that the tokens are in: after a run to its end, the prompt and all tokens generated. */
  get cache(): KVCache {
    return this.#sequence.cache;
  }

  get partial(): GenerationResult | null {
    return this.#end?.result ?? null;
  }

  async result(): Promise<GenerationResult> {
    if (!this.#end) for await (const _ of this);
    const { result, failure } = this.#end!;
    if (failure) throw failure.error;
    return result;
  }

  [Symbol.asyncIterator](): AsyncGenerator<TextChunk, void, undefined> {
    const sequence = this.#sequence;
    return leaveWhenDropped(this.#iterate(), () => void sequence.leave());
  }

  async *#iterate(): AsyncGenerator<TextChunk, void, undefined> {
    if (this.#started) throw new InputError('this generation was iterated already; call generate again');
    this.#started = true;
    this.#scheduler.submit(this.#sequence);
    try {
      for (;;) {
        while (this.#chunks.length > 0) yield this.#chunks.shift()!;
        if (this.#end) break;
        await new Promise<void>((wake) => {
          this.#wake = wake;
          this.#sequence.wake();
        });
      }
    } finally {
      if (!this.#end) await this.#sequence.leave();
    }
    if (this.#end.failure) throw this.#end.failure.error;
  }

  /** @internal */
  get waits(): boolean {
    return this.#wake !== null;
  }

  /** @internal */
  onChunk(chunk: TextChunk): void {
    this.#chunks.push(chunk);
    this.#tell();
  }

  /** @internal */
  onEnd(end: SequenceEnd): void {
    this.#end = end;
    this.#tell();
  }

  #tell(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
