/**
 * @file Our side: this library, in a process of its own.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import { type KVCache, type LanguageModel, loadModel } from '../src/node.ts';
import {
  DECODE_TOKENS,
  DECODE_WARM_UP,
  isFile,
  type LoadOptions,
  OPEN_TOKENS,
  PROMPT_WARM_UP,
  promptTokens,
  promptVocabulary,
  SPARE_TOKENS,
  sameTokens,
  serve,
  type Work,
} from './protocol.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { watchMemory } from './resident.ts';
import { shapes } from './shapes.ts';

/** What decides where there is a budget. */
const POLICY = 'h2o';

// Loading the libraries' code is in no side's figures.
openGgml();

let vocabulary: number;
let model: LanguageModel;
/** Bytes. */
let weights: number;
/**
 * After `prepare` it holds the work's tokens; what has a budget is decoded in a fork, as it can't be cut to them again.
 */
let cache: KVCache;
let work: Work | undefined;
let prompt: number[];

serve({
  async load(options) {
    await load(options);
    weights = sizeOf(cacheDir(options));
  },

  async prepare(next) {
    const reuse = next.kind !== 'prompt' && work && sameTokens(work, next) && sameCache(work, next);
    if (work && !reuse) cache.clear();
    work = next;
    prompt = promptTokens(work.tokens, vocabulary);
    if (work.kind === 'prompt') {
      cache = createCache(work);
      await model.prefill(cache, prompt.slice(0, PROMPT_WARM_UP));
      return;
    }
    if (!reuse) {
      const one = createCache(work);
      await model.prefill(one, prompt);
      cache = one.recreate(work.rows);
      for (let row = 0; row < work.rows; row++) cache.copyRow(one, 0, row);
    }
    await this.run();
  },

  async run() {
    const { kind, tokens: held, rows, budget } = work!;
    if (kind === 'prompt') {
      cache.clear();
      const memory = watchMemory(weights);
      const start = performance.now();
      greedy(await model.prefill(cache, prompt));
      return { tokens: held, ms: performance.now() - start, memory: memory() };
    }
    if (kind === 'prefill') {
      cache.truncate(0);
      const start = performance.now();
      greedy(await model.prefill(cache, prompt));
      return { tokens: held, ms: performance.now() - start };
    }
    const writing = budget === undefined ? cache : cache.fork();
    for (let row = 0; row < rows; row++) writing.truncate(held, row);
    let tokens = Array.from({ length: rows }, (_, row) => prompt[row]!);
    let start = 0;
    for (let made = 0; made < DECODE_WARM_UP + DECODE_TOKENS; made++) {
      if (made === DECODE_WARM_UP) start = performance.now();
      const { logits } = await model.step(
        writing,
        tokens.map((token) => [token]),
      );
      const width = logits.length / rows;
      tokens = tokens.map((_, row) => greedy(logits.subarray(row * width, (row + 1) * width)));
    }
    return { tokens: DECODE_TOKENS * rows, ms: performance.now() - start };
  },

  async open(options) {
    const start = performance.now();
    await load(options);
    await model.prepare(model.createCache({ policy: 'dense', cacheLength: OPEN_TOKENS }));
    return { tokens: 0, ms: performance.now() - start };
  },
});

async function load(options: LoadOptions): Promise<void> {
  const { shape, seed, threads } = options;
  vocabulary = promptVocabulary(options);
  const common = { threads, cacheDir: cacheDir(options) };
  // A file's blocks are kept as they are.
  model = isFile(shape)
    ? await loadModel(shape, common)
    : await loadModel(randomCheckpoint(shapes[shape]!, seed), { ...common, weights: options.weights });
}

function cacheDir({ folder }: LoadOptions): string {
  return join(folder, 'ours');
}

function createCache({ tokens, budget, buffer }: Work): KVCache {
  if (budget === undefined) return model.createCache({ policy: 'dense', cacheLength: tokens + SPARE_TOKENS, buffer });
  return model.createCache({ policy: POLICY, cacheLength: budget, buffer });
}

function sameCache(a: Work, b: Work): boolean {
  return a.budget === b.budget && a.buffer === b.buffer;
}

function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** Bytes of all files in a folder. */
function sizeOf(folder: string): number {
  const files = readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}
