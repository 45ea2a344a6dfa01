/**
 * @file Runs all sequences of a model together, for as long as the model lives.
 *
 * Each round reads prompts, and then takes one step with all sequences that decode: those whose caches have the same
 * policy and options share the step. While other readers' sequences decode, a round reads one short chunk, so that none
 * waits long for another's prompt.
 */
import { CacheFullError } from '../../util/errors.ts';
import { macrotask } from '../../util/macrotask.ts';
import { range } from '../../util/numbers.ts';
import type { DecoderModel } from '../model.ts';
import type { FinishReason } from '../options.ts';
import { CHUNK_LENGTH, prefill } from './prefill.ts';
import { PromptPace, shortestFirst } from './prompt-order.ts';
import type { Sequence, SequenceEnd } from './sequence.ts';
import { type BatchRow, ownRow, SharedBatch } from './shared-batch.ts';

/** Milliseconds after which timers and signals get a turn, also where the backend never waits. */
const TURN_MS = 8;
/** Tokens of prompts that are read whole in a round, though sequences wait for them. */
const SHORT_PROMPT = 64;
/**
 * Rounds after which the row of a sequence that is not waited for leaves the shared cache: until then it costs its part
 * of each step.
 */
const PAUSED_ROUNDS = 4;
/** Readers that only compute wait again after a few microtasks. */
const MICROTASKS = 40;

export class Scheduler {
  readonly #model: DecoderModel;
  readonly #sequences = new Set<Sequence>();
  /** Sequences that decode, by the kind of their caches. */
  #batches: SharedBatch<Sequence>[] = [];
  readonly #pace = new PromptPace();
  #running = false;
  #wake: (() => void) | null = null;
  #lastTurn = 0;

  constructor(model: DecoderModel) {
    this.#model = model;
  }

  /** Sequences that are under way. */
  get active(): number {
    return this.#sequences.size;
  }

  /**
   * Starts a sequence. Its reader is told what becomes of it.
   */
  submit(sequence: Sequence): void {
    try {
      sequence.start();
    } catch (error) {
      void sequence.end(ownRow(sequence), 'error', { error });
      return;
    }
    this.#sequences.add(sequence);
    sequence.wake = () => this.#wake?.();
    sequence.wake();
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#sequences.size > 0) {
      for (const sequence of [...this.#sequences]) if (sequence.cancelled) await this.#cancel(sequence);
      const ready = new Set([...this.#sequences].filter(({ reader, prepared }) => reader.waits && prepared));
      if (ready.size > 0) {
        await this.#round(ready).catch((error: unknown) => this.#failAll(ready, error));
        await this.#turn();
      } else if (this.#sequences.size > 0) {
        await new Promise<void>((wake) => {
          this.#wake = wake;
        });
        this.#wake = null;
      }
    }
    this.#running = false;
  }

  async #round(ready: Set<Sequence>): Promise<void> {
    await this.#readPrompts(ready);
    const begin = performance.now();
    let rows = 0;
    for (const batch of this.#batches) rows += await this.#step(batch, ready);
    if (rows > 0) this.#pace.stepTook(performance.now() - begin);
    this.#batches = this.#batches.filter(({ members }) => members.length > 0);
  }

  /** Lets readers ask for more, and the event loop go round. */
  async #turn(): Promise<void> {
    const idle = () =>
      [...this.#sequences].some(({ reader, cancelled, prepared }) => !(reader.waits && prepared) && !cancelled);
    for (let i = 0; i < MICROTASKS && idle(); i++) await null;
    if (!idle() && performance.now() - this.#lastTurn < TURN_MS) return;
    await macrotask();
    this.#lastTurn = performance.now();
  }

  /**
   * While others decode, it reads one short chunk, or short prompts that are whole with it. Where none do, it reads as
   * many prompts as fit into one long chunk: eight short prompts that were read one a round would decode in seven steps
   * of fewer rows.
   */
  async #readPrompts(ready: Set<Sequence>): Promise<void> {
    const othersDecode = [...ready].some(({ phase }) => phase === 'decode');
    for (let left = othersDecode ? SHORT_PROMPT : CHUNK_LENGTH; left > 0; ) {
      const reading = [...ready].filter(
        (one) => (one.phase === 'waiting' || one.phase === 'prefill') && !one.cancelled,
      );
      const sequence = shortestFirst(reading);
      if (!sequence) return;
      for (const other of reading) if (other !== sequence) other.passedOver++;
      if (!(await this.#begin(sequence))) continue;
      const { promptLength, promptLeft } = sequence;
      // In short chunks a short prompt takes twice as long, and so do the steps with fewer rows meanwhile.
      const isFree = !othersDecode || promptLength <= left;
      await this.#readPrompt(sequence, isFree ? Number.POSITIVE_INFINITY : this.#pace.chunkLength, ready);
      if (!isFree) return;
      left -= promptLeft - sequence.promptLeft || left;
      if (!othersDecode && sequence.phase === 'decode') left = Math.min(left, SHORT_PROMPT);
      if (reading.every((one) => one === sequence || one.promptLeft > left)) return;
    }
  }

  /** @returns whether its prompt can be read: how much of it its cache has is known then. */
  async #begin(sequence: Sequence): Promise<boolean> {
    if (sequence.phase !== 'waiting') return true;
    try {
      await sequence.begin();
      return true;
    } catch (error) {
      await this.#fail(sequence, error);
      return false;
    }
  }

  async #readPrompt(sequence: Sequence, most: number, ready: Set<Sequence>): Promise<void> {
    try {
      const before = sequence.promptLeft;
      const begin = performance.now();
      await sequence.readPrompt(most);
      this.#pace.chunkTook(before - sequence.promptLeft, performance.now() - begin);
    } catch (error) {
      // Stopped within a chunk: it ends with the next round.
      if (!sequence.cancelled) await this.#fail(sequence, error);
      return;
    }
    if (sequence.phase !== 'decode' || sequence.cancelled) return;
    // Its reader has its first token, and is asked again before the next step.
    ready.delete(sequence);
    if (sequence.finishReason) await this.#end(sequence, sequence.finishReason);
    else this.#batchFor(sequence).join(sequence);
  }

  #batchFor({ cache }: Sequence): SharedBatch<Sequence> {
    const known = this.#batches.find((batch) => batch.takes(cache));
    if (known) return known;
    const batch = new SharedBatch<Sequence>(cache);
    this.#batches.push(batch);
    return batch;
  }

  /** One step of those rows of a batch whose readers wait. @returns how many they are. */
  async #step(batch: SharedBatch<Sequence>, ready: ReadonlySet<Sequence>): Promise<number> {
    const takesPart = (sequence: Sequence) => ready.has(sequence) && !sequence.cancelled;
    for (const sequence of batch.members) {
      try {
        sequence.checkCache();
      } catch (error) {
        await this.#fail(sequence, error);
      }
    }
    for (const sequence of batch.members) {
      sequence.pausedRounds = takesPart(sequence) ? 0 : sequence.pausedRounds + 1;
      if (sequence.pausedRounds === PAUSED_ROUNDS) batch.park(sequence);
    }
    batch.compact(takesPart);
    for (const [row, sequence] of [...batch.rows].entries()) {
      if (!takesPart(sequence)) continue;
      try {
        if (!this.#fits(sequence, batch.rowOf(row))) await this.#end(sequence, 'length');
      } catch (error) {
        await this.#fail(sequence, error);
      }
    }
    batch.compact(takesPart);
    const { cache } = batch;
    const rows = batch.rows.map((sequence, row) => ({ sequence, row, before: cache.length(row) }));
    const outputs = new Map<Sequence, StepOutput>();
    const together: Sequence[] = [];
    for (const { sequence, row, before } of rows) {
      if (!takesPart(sequence)) continue;
      if (this.#model.ropeFits(before, before + sequence.speculator.chunk.length)) together.push(sequence);
      else outputs.set(sequence, await caught(this.#readAgain(batch.rowOf(row), sequence)));
    }
    await this.#stepTogether(batch, together, outputs);
    for (const { sequence, row, before } of rows) {
      const output = outputs.get(sequence);
      if (!output) continue;
      try {
        if ('error' in output) throw output.error;
        await sequence.accept(batch.rowOf(row), output.logits, before);
      } catch (error) {
        await this.#fail(sequence, error);
        continue;
      }
      if (sequence.finishReason) await this.#end(sequence, sequence.finishReason);
    }
    return outputs.size;
  }

  /** Whether a row has slots and positions for its next tokens. */
  #fits({ speculator }: Sequence, { cache, row }: BatchRow): boolean {
    const { position, contextLength } = this.#model.config;
    const count = speculator.chunk.length;
    if (position === 'learned' && cache.length(row) + count > contextLength) return false;
    try {
      cache.reserve(range(cache.batch).map((r) => (r === row ? count : 0)));
      return true;
    } catch (error) {
      if (error instanceof CacheFullError) return false;
      throw error;
    }
  }

  /**
   * One step for all of these; where it fails, one for each, so that an error ends only the sequence that it belongs
   * to.
   */
  async #stepTogether(
    batch: SharedBatch<Sequence>,
    sequences: readonly Sequence[],
    outputs: Map<Sequence, StepOutput>,
  ): Promise<void> {
    if (sequences.length === 0) return;
    const { cache } = batch;
    const chunk = batch.rows.map((row) => (sequences.includes(row) ? row.speculator.chunk : []));
    let logits: Float32Array;
    try {
      const options = {
        logits: 'all',
        rowAdapters: batch.rows.map(({ adapters }) => adapters),
        eachQuery: chunk.some(({ length }) => length > 1),
        lease: batch.rowOf(0).lease,
      } as const;
      ({ logits } = await this.#model.step(cache, chunk, options));
    } catch (error) {
      if (sequences.length === 1) outputs.set(sequences[0], { error });
      else for (const sequence of sequences) await this.#stepTogether(batch, [sequence], outputs);
      return;
    }
    const width = logits.length / chunk.reduce((sum, { length }) => sum + length, 0);
    let at = 0;
    for (const [row, sequence] of batch.rows.entries()) {
      const end = at + chunk[row].length * width;
      if (end > at) outputs.set(sequence, { logits: logits.subarray(at, end) });
      at = end;
    }
  }

  /** A row whose longer sequence wants other rotations than its keys have is read again, in a cache of its own. */
  async #readAgain({ cache, row, lease }: BatchRow, { speculator, adapters }: Sequence): Promise<StepOutput> {
    const own = cache.batch === 1 ? cache : cache.recreate(1);
    if (own !== cache) own.copyRow(cache, row, 0);
    const options = { phase: 'decode', logits: 'all', adapters, lease: own === cache ? lease : undefined } as const;
    const logits = await prefill(this.#model, own, speculator.chunk, options);
    if (own !== cache) cache.copyRow(own, 0, row);
    return { logits };
  }

  async #cancel(sequence: Sequence): Promise<void> {
    const { signal } = sequence;
    await this.#end(sequence, 'aborted', signal?.aborted ? { error: signal.reason } : null);
  }

  async #fail(sequence: Sequence, error: unknown): Promise<void> {
    await this.#end(sequence, 'error', { error });
  }

  /** A defect: no sequence may wait for ever. */
  async #failAll(sequences: Iterable<Sequence>, error: unknown): Promise<void> {
    for (const sequence of sequences) if (sequence.phase !== 'ended') await this.#fail(sequence, error);
  }

  async #end(sequence: Sequence, reason: FinishReason, failure: SequenceEnd['failure'] = null): Promise<void> {
    const batch = this.#batches.find(({ members }) => members.includes(sequence));
    const at = batch?.leave(sequence) ?? ownRow(sequence);
    await sequence.end(at, reason, failure);
    this.#sequences.delete(sequence);
  }
}

type StepOutput = { readonly logits: Float32Array } | { readonly error: unknown };

async function caught(output: Promise<StepOutput>): Promise<StepOutput> {
  try {
    return await output;
  } catch (error) {
    return { error };
  }
}
