/**
 * @file `npm run soak:stream`: a text of 100,000 tokens, far beyond the model's context, goes through a cache of 256.
 * The model must foresee its end as well as its beginning, and memory must stay.
 *
 * What it is compared with: the same tokens in the same chunks through a cache of the same policy and budget, which
 * begins anew every WINDOW tokens, at positions that the model was trained for. It first reads as many tokens again as
 * the budget holds, and those don't count: so both foresee every token from about as many before it, and differ in
 * nothing but the stream's length.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { logSoftmaxAt } from '../src/engine/sampling/sampler.ts';
import { type KVCache, type LanguageModel, loadModel } from '../src/node.ts';

/** `--no-rebase` shows what becomes of a stream whose positions just go on: it judges memory alone. */
const REBASE = !process.argv.includes('--no-rebase');
const TOKENS = Number(process.argv.slice(2).find((word) => /^\d+$/.test(word)) ?? (REBASE ? 100_000 : 30_000));
const BUDGET = 256;
const SINKS = 4;
const CHUNK = 64;
/** Every so many chunks one is of a single token, as where a model writes. */
const SINGLE = 8;
const BLOCK = 10_000;
/** The model was trained in windows up to 2,048. */
const WINDOW = 2048;
/** By how much a block's perplexity may be above that of the same text read anew. */
const WORSE = 1.02;
/**
 * The same for tokens that are read while what was moved is still held, all of them together. They are few, and the
 * near ones say most of what comes: keys that are not turned at all make it 1.05, and hardly show in a whole block.
 */
const WORSE_MOVED = 1.01;
/** From here on memory may not grow by more than this share. */
const WARM = 20_000;
const GROWTH = 0.1;

/** A cache, and what the model says of the token that comes next. */
class Reader {
  readonly cache: KVCache;
  readonly #model: LanguageModel;
  #next: Float32Array | null = null;

  constructor(model: LanguageModel, rebase: boolean) {
    this.#model = model;
    this.cache = model.createCache({ policy: 'lastrec', cacheLength: BUDGET, sinks: SINKS, rebase });
  }

  /** @returns the loss of all of a chunk's tokens together, in nats. The first token of all has none. */
  async read(chunk: readonly number[]): Promise<number> {
    const { logits } = await this.#model.step(this.cache, [chunk], { logits: 'all', phase: 'prompt' });
    const V = logits.length / chunk.length;
    let loss = 0;
    for (const [i, token] of chunk.entries()) {
      const before = i === 0 ? this.#next : logits.subarray((i - 1) * V, i * V);
      if (before) loss -= logSoftmaxAt(before, token);
    }
    this.#next = logits.slice((chunk.length - 1) * V);
    return loss;
  }

  async readAgain(tokens: readonly number[]): Promise<void> {
    this.cache.clear();
    this.#next = null;
    for (let at = 0; at < tokens.length; at += CHUNK) await this.read(tokens.slice(at, at + CHUNK));
  }
}

const folder = join(import.meta.dirname, '../models/tiny');
const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-soak-'));
const failures: string[] = [];
try {
  await using model = await loadModel(folder, { weights: 'float32', cacheDir, generationConfig: false });
  const context = model.config.contextLength;
  const text = model.tokenizer.encode(await readFile(join(folder, 'validation.txt'), 'utf8'), {
    addSpecialTokens: false,
  });
  const lead = model.tokenizer.encode('', { addSpecialTokens: true });
  const stream = new Reader(model, REBASE);
  const anew = new Reader(model, REBASE);
  for (const reader of [stream, anew]) await reader.read(lead);
  let [streamLoss, anewLoss, counted, chunks, moves, warm] = [0, 0, 0, 0, 0, 0];
  const afterMove = { loss: 0, anew: 0, tokens: 0 };
  let movedAt = Number.NEGATIVE_INFINITY;
  console.log(`a text of ${text.length} tokens, again and again; context ${context}, budget ${BUDGET}, ${SINKS} sinks`);
  console.log('  tokens   perplexity   read anew   ratio   held    place   moves     resident      heap');
  for (let at = 0; at < TOKENS; ) {
    const left = BLOCK - (at % BLOCK);
    const count = Math.min(++chunks % SINGLE === 0 ? 1 : CHUNK, left, TOKENS - at);
    const chunk = Array.from({ length: count }, (_, i) => text[(at + i) % text.length]);
    if (anew.cache.length() + count > WINDOW) {
      const from = Math.max(0, at - (BUDGET - lead.length));
      await anew.readAgain([...lead, ...Array.from({ length: at - from }, (_, i) => text[(from + i) % text.length])]);
    }
    const before = stream.cache.ropePosition();
    const loss = await stream.read(chunk);
    const wantedLoss = await anew.read(chunk);
    streamLoss += loss;
    anewLoss += wantedLoss;
    if (stream.cache.ropePosition() < before + count) {
      moves++;
      movedAt = at;
    }
    if (at < movedAt + BUDGET) {
      afterMove.loss += loss;
      afterMove.anew += wantedLoss;
      afterMove.tokens += count;
    }
    at += count;
    counted += count;
    const [held] = stream.cache.stats().held;
    if (held > BUDGET) throw new Error(`${held} slots are held after ${at} tokens`);
    if (REBASE && stream.cache.ropePosition() > context)
      throw new Error(`the next place is ${stream.cache.ropePosition()}`);
    if (at % BLOCK > 0 && at < TOKENS) continue;
    // What is only garbage is no growth.
    globalThis.gc?.();
    await sleep(50);
    const { rss, heapUsed } = process.memoryUsage();
    const [perplexity, wanted] = [Math.exp(streamLoss / counted), Math.exp(anewLoss / counted)];
    console.log(
      `${String(at).padStart(8)}   ${perplexity.toFixed(2).padStart(10)}   ${wanted.toFixed(2).padStart(9)}   ` +
        `${(perplexity / wanted).toFixed(3)}   ${String(held).padStart(4)}   ${String(stream.cache.ropePosition()).padStart(6)}   ` +
        `${String(moves).padStart(5)}   ${megabytes(rss)} ${megabytes(heapUsed)}`,
    );
    if (REBASE && !(perplexity <= WORSE * wanted))
      failures.push(`the perplexity up to token ${at} is ${(perplexity / wanted).toFixed(3)} times what it is anew`);
    if (at >= WARM) warm ||= rss;
    if (warm > 0 && rss > warm * (1 + GROWTH)) failures.push(`resident memory is ${megabytes(rss)} at token ${at}`);
    [streamLoss, anewLoss, counted] = [0, 0, 0];
  }
  if (moves > 0) {
    const ratio = Math.exp((afterMove.loss - afterMove.anew) / afterMove.tokens);
    console.log(
      `${moves} times it was moved; the perplexity of the ${afterMove.tokens} tokens behind is ${ratio.toFixed(4)} times what it is anew`,
    );
    if (!(ratio <= WORSE_MOVED)) failures.push(`that is more than ${WORSE_MOVED}`);
  }
  if (stream.cache.length() !== TOKENS + lead.length) failures.push(`${stream.cache.length()} tokens were seen`);
  if (REBASE && TOKENS > 2 * context && moves === 0) failures.push('nothing was ever moved');
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}
for (const failure of failures) console.error(failure);
process.exitCode = failures.length > 0 ? 1 : 0;

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`.padStart(10);
}
