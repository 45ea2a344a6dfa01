/**
 * @file The peer: llama.cpp itself. The libraries that the ggml engine uses are called without a wrapper: `llama_decode` on the main
 * thread, greedy choice in JavaScript. What node-llama-cpp adds to a token is not in these figures.
 */

import { openGgml } from '../src/backends/ggml/binding.ts';
import type { Pointer } from '../src/backends/ggml/functions.ts';
import { argmax } from '../src/util/numbers.ts';
import { modelFile } from './gguf.ts';
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

/** A struct that is longer than llama.cpp's: fields are set by their offsets, and what follows is not read. */
type Params = { words: Uint32Array | number[] };
interface Batch {
  readonly n_tokens: number;
  readonly token: bigint;
  readonly embd: null;
  readonly pos: bigint;
  readonly n_seq_id: bigint;
  readonly seq_id: bigint;
  readonly logits: bigint;
}

/** Indices of `llama_context_params`, in words of 4 bytes, of llama.cpp v0.4.0; {@link checkDefaults} checks them. */
const CONTEXT = { n_ctx: 0, n_batch: 1, n_ubatch: 2, n_seq_max: 3, n_threads: 7, n_threads_batch: 8 } as const;
const DEFAULTS: readonly (readonly [keyof typeof CONTEXT, number])[] = [
  ['n_ctx', 512],
  ['n_batch', 2048],
  ['n_ubatch', 512],
  ['n_seq_max', 1],
  ['n_threads', 4],
  ['n_threads_batch', 4],
];
const WORDS = 64;
/** `poll` of the thread pool, as llama-bench and llama-cli have it. */
const POLL = 50;

const ggml = openGgml();
const llama = bindLlama();

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

function bindLlama() {
  const { koffi, files } = ggml;
  if (!files.llama) throw new Error('the package of ggml has no libllama');
  const library = koffi.load(files.llama, { global: true });
  koffi.struct('bench_llama_params', { words: koffi.array('uint32_t', WORDS) });
  koffi.struct('bench_llama_batch', {
    n_tokens: 'int32_t',
    token: 'void *',
    embd: 'void *',
    pos: 'void *',
    n_seq_id: 'void *',
    seq_id: 'void *',
    logits: 'void *',
  });
  const params = 'bench_llama_params';
  const p = 'void *';
  const bind = <F>(name: string, result: string, args: string[]): F => library.func(name, result, args) as F;
  bind<(callback: Pointer, data: Pointer) => void>('llama_log_set', 'void', [p, p])(
    ggml.symbol('ggml_tensor_overhead'),
    null,
  );
  return {
    modelParams: bind<() => Params>('llama_model_default_params', params, []),
    contextParams: bind<() => Params>('llama_context_default_params', params, []),
    loadModel: bind<(path: string, params: Params) => Pointer>('llama_model_load_from_file', p, ['str', params]),
    makeContext: bind<(model: Pointer, params: Params) => Pointer>('llama_init_from_model', p, [p, params]),
    freeContext: bind<(context: Pointer) => void>('llama_free', 'void', [p]),
    vocabulary: bind<(model: Pointer) => Pointer>('llama_model_get_vocab', p, [p]),
    vocabularySize: bind<(vocabulary: Pointer) => number>('llama_vocab_n_tokens', 'int', [p]),
    attachThreads: bind<(context: Pointer, pool: Pointer, batchPool: Pointer) => void>(
      'llama_attach_threadpool',
      'void',
      [p, p, p],
    ),
    decode: bind<(context: Pointer, batch: Batch) => number>('llama_decode', 'int', [p, 'bench_llama_batch']),
    logits: bind<(context: Pointer, index: number) => Pointer>('llama_get_logits_ith', p, [p, 'int']),
    memory: bind<(context: Pointer) => Pointer>('llama_get_memory', p, [p]),
    seqRemove: bind<(memory: Pointer, row: number, from: number, to: number) => boolean>(
      'llama_memory_seq_rm',
      'bool',
      [p, 'int', 'int', 'int'],
    ),
    seqCopy: bind<(memory: Pointer, from: number, to: number, start: number, end: number) => void>(
      'llama_memory_seq_cp',
      'void',
      [p, 'int', 'int', 'int', 'int'],
    ),
  };
}

function loadModel(file: string): Pointer {
  const loaded = llama.loadModel(file, llama.modelParams());
  if (!loaded) throw new Error(`libllama can't load ${file}`);
  vocabulary = llama.vocabularySize(llama.vocabulary(loaded));
  return loaded;
}

/** All settings but lengths and threads are libllama's defaults: keys and values in float16, flash attention by itself. */
function makeContext(tokens: number, rows: number): void {
  if (context) llama.freeContext(context);
  const words = Uint32Array.from(llama.contextParams().words);
  checkDefaults(words);
  words[CONTEXT.n_ctx] = tokens * rows;
  words[CONTEXT.n_batch] = BATCH_SIZE;
  words[CONTEXT.n_ubatch] = BATCH_SIZE;
  words[CONTEXT.n_seq_max] = rows;
  words[CONTEXT.n_threads] = loading.threads;
  words[CONTEXT.n_threads_batch] = loading.threads;
  context = llama.makeContext(model, { words });
  if (!context) throw new Error('libllama made no context');
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

/** Another version of libllama may have other fields. */
function checkDefaults(words: Uint32Array): void {
  for (const [name, value] of DEFAULTS)
    if (words[CONTEXT[name]] !== value)
      throw new Error(`libllama's ${name} is ${words[CONTEXT[name]]} instead of ${value}: its struct has changed`);
}

/** One token of each row (`isStep`), or tokens of the first row behind each other. Logits come of every row's last token. */
function decode(tokens: readonly number[], { isStep }: { readonly isStep: boolean }): void {
  const count = tokens.length;
  const ids = Int32Array.from(tokens);
  const positions = Int32Array.from(tokens, (_, i) => (isStep ? held : held + i));
  const rows = Int32Array.from(tokens, (_, i) => (isStep ? i : 0));
  const { addressOf } = ggml;
  const start = addressOf(rows);
  const rowAddresses = BigUint64Array.from(tokens, (_, i) => start + BigInt(4 * i));
  const counts = new Int32Array(count).fill(1);
  const wanted = Int8Array.from(tokens, (_, i) => (isStep || i === count - 1 ? 1 : 0));
  const status = llama.decode(context, {
    n_tokens: count,
    token: addressOf(ids),
    embd: null,
    pos: addressOf(positions),
    n_seq_id: addressOf(counts),
    seq_id: addressOf(rowAddresses),
    logits: addressOf(wanted),
  });
  if (status !== 0) throw new Error(`llama_decode: ${status}`);
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
