/**
 * @file The peer: llama.cpp itself. The libraries that the ggml engine uses are called without a wrapper:
 * `llama_decode` on the main thread, greedy choice in JavaScript. What node-llama-cpp adds to a token is not in these
 * figures.
 */
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import type { Pointer } from '../src/backends/ggml/binding/functions.ts';
import { argmax } from '../src/util/numbers.ts';
import { modelFile } from './gguf.ts';
import { bindLlama, decodeTokens, openContext, openModel } from './libllama.ts';
import {
  BATCH_SIZE,
  DECODE_TOKENS,
  DECODE_WARM_UP,
  fileOf,
  type LoadOptions,
  OPEN_TOKENS,
  PROMPT_WARM_UP,
  promptTokens,
  promptVocabulary,
  SPARE_TOKENS,
  sameTokens,
  serve,
  type Timing,
  type Work,
} from './protocol.ts';
import { watchMemory } from './resident.ts';

/** `poll` of the thread pool, as llama-bench and llama-cli have it. */
const POLL = 50;

const ggml = openGgml();
const llama = bindLlama(ggml);

let loading: LoadOptions;
let model: Pointer;
let context: Pointer = null;
let vocabulary: number;
let weights: number;
let work: Work | undefined;
let prompt: number[];
/** Tokens that each row holds. */
let held = 0;

serve({
  async load(options) {
    loading = options;
    const { file, bytes } = modelFile(options);
    weights = bytes;
    model = loadModel(file);
  },

  async prepare(next) {
    const reuse = work && sameTokens(work, next);
    work = next;
    prompt = promptTokens(next.tokens, promptVocabulary(loading));
    if (!reuse) {
      makeContext(next.tokens + SPARE_TOKENS, next.rows);
      if (next.kind === 'prompt') read(prompt.slice(0, PROMPT_WARM_UP));
      else {
        read(prompt);
        for (let row = 1; row < next.rows; row++) llama.seqCopy(llama.memory(context), 0, row, -1, -1);
      }
    }
    if (next.kind !== 'prompt') await this.run();
  },

  async run() {
    const { kind, tokens, rows } = work!;
    if (kind === 'prefill') return read(prompt);
    if (kind === 'prompt') {
      const memory = watchMemory(weights);
      return { ...read(prompt), memory: memory() };
    }
    for (let row = 0; row < rows; row++) llama.seqRemove(llama.memory(context), row, tokens, -1);
    held = tokens;
    let last = Array.from({ length: rows }, (_, row) => prompt[row]!);
    let start = 0;
    for (let made = 0; made < DECODE_WARM_UP + DECODE_TOKENS; made++) {
      if (made === DECODE_WARM_UP) start = performance.now();
      decode(last, { isStep: true });
      last = last.map((_, row) => greedy(row));
      held++;
    }
    return { tokens: DECODE_TOKENS * rows, ms: performance.now() - start, threads: loading.threads };
  },

  async open(options) {
    loading = options;
    const start = performance.now();
    model = loadModel(fileOf(options));
    makeContext(OPEN_TOKENS, 1);
    return { tokens: 0, ms: performance.now() - start };
  },
});

function loadModel(file: string): Pointer {
  const loaded = openModel(llama, file);
  vocabulary = llama.vocabularySize(llama.vocabulary(loaded));
  return loaded;
}

function makeContext(tokens: number, rows: number): void {
  if (context) llama.freeContext(context);
  const lengths = { n_ctx: tokens * rows, n_batch: BATCH_SIZE, n_ubatch: BATCH_SIZE, n_seq_max: rows };
  context = openContext(llama, model, { ...lengths, n_threads: loading.threads });
  if (loading.threads > 1) llama.attachThreads(context, threadPool(), null);
}

let pool: Pointer = null;
function threadPool(): Pointer {
  if (pool) return pool;
  const params = new DataView(new ArrayBuffer(528));
  params.setInt32(512, loading.threads, true);
  params.setUint32(520, POLL, true);
  pool = ggml.ggml_threadpool_new(new Uint8Array(params.buffer));
  return pool;
}

/**
 * One token of each row (`isStep`), or tokens of the first row behind each other. Logits come of every row's last
 * token.
 */
function decode(tokens: readonly number[], { isStep }: { readonly isStep: boolean }): void {
  const { length } = tokens;
  decodeTokens({ ggml, llama, context }, tokens, (i) => ({
    position: isStep ? held : held + i,
    row: isStep ? i : 0,
    wanted: isStep || i === length - 1,
  }));
}

/** The token with the greatest logit of an entry of the batch; -1: the last one. */
function greedy(entry: number): number {
  const logits = new Float32Array(ggml.koffi.view(llama.logits(context, entry), 4 * vocabulary));
  return argmax(logits);
}

/** A prompt from the start, up to the first token chosen. */
function read(tokens: readonly number[]): Timing {
  for (let row = 0; row < work!.rows; row++) llama.seqRemove(llama.memory(context), row, -1, -1);
  const start = performance.now();
  for (held = 0; held < tokens.length; held += BATCH_SIZE)
    decode(tokens.slice(held, held + BATCH_SIZE), { isStep: false });
  held = tokens.length;
  greedy(-1);
  return { tokens: tokens.length, ms: performance.now() - start, threads: loading.threads };
}
