/**
 * @file libllama, called without a wrapper: the library that comes with ggml's. For comparisons.
 */
import { openGgml } from '../src/backends/ggml/binding/binding.ts';
import type { Pointer } from '../src/backends/ggml/binding/functions.ts';
import type { Ggml } from '../src/backends/ggml/binding/ggml.ts';

/** A struct that is longer than llama.cpp's: fields are set by their offsets, and what follows is not read. */
export type Params = { words: Uint32Array | number[] };
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
const CONTEXT = {
  ...{ n_ctx: 0, n_batch: 1, n_ubatch: 2, n_seq_max: 3, n_threads: 7, n_threads_batch: 8 },
  ...{ flash_attn: 13, type_k: 26, type_v: 27 },
} as const;
/** By itself. */
const AUTO = 0xffffffff;
/** `GGML_TYPE_F16` */
const F16 = 1;
const DEFAULTS: readonly (readonly [keyof typeof CONTEXT, number])[] = [
  ['n_ctx', 512],
  ['n_batch', 2048],
  ['n_ubatch', 512],
  ['n_seq_max', 1],
  ['n_threads', 4],
  ['n_threads_batch', 4],
  ['flash_attn', AUTO],
  ['type_k', F16],
  ['type_v', F16],
];
const WORDS = 64;

/** @throws Error where the package of ggml has no libllama. */
export function bindLlama(ggml: Ggml = openGgml()) {
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
    freeModel: bind<(model: Pointer) => void>('llama_model_free', 'void', [p]),
    freeContext: bind<(context: Pointer) => void>('llama_free', 'void', [p]),
    vocabulary: bind<(model: Pointer) => Pointer>('llama_model_get_vocab', p, [p]),
    tokenize: bind<
      (
        vocabulary: Pointer,
        text: Uint8Array,
        length: number,
        out: Int32Array,
        most: number,
        addSpecial: boolean,
        parseSpecial: boolean,
      ) => number
    >('llama_tokenize', 'int', [p, p, 'int', p, 'int', 'bool', 'bool']),
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

/** Settings of a context whose keys and values are float32, without flash attention. */
export const FLOAT_CACHE = { flash_attn: 0, type_k: 0, type_v: 0 } as const;

/** Another version of libllama may have other fields. */
function checkDefaults(words: Uint32Array): void {
  for (const [name, value] of DEFAULTS)
    if (words[CONTEXT[name]] !== value)
      throw new Error(`libllama's ${name} is ${words[CONTEXT[name]]} instead of ${value}: its struct has changed`);
}

export type Llama = ReturnType<typeof bindLlama>;

/** @throws Error where libllama can't load the file. */
export function openModel(llama: Llama, file: string): Pointer {
  const model = llama.loadModel(file, llama.modelParams());
  if (!model) throw new Error(`libllama can't load ${file}`);
  return model;
}

/**
 * The word of `llama_model_params` whose first byte is `vocab_only`, the third `use_mmap`; the others are 0 by default.
 */
const MODEL_FLAGS = 18;
const MAPPED = 0x10000;

/** The tokenizer of a file alone, without its weights. @throws Error where libllama can't load it. */
export function openVocabulary(llama: Llama, file: string) {
  const words = Uint32Array.from(llama.modelParams().words);
  if (words[MODEL_FLAGS] !== MAPPED) throw new Error("libllama's struct of models has changed");
  words[MODEL_FLAGS] = MAPPED | 1;
  const model = llama.loadModel(file, { words });
  if (!model) throw new Error(`libllama can't load ${file}`);
  const vocabulary = llama.vocabulary(model);
  return {
    /** Without special tokens. */
    encode(text: string): number[] {
      const bytes = new TextEncoder().encode(text);
      const out = new Int32Array(bytes.length + 1);
      const count = llama.tokenize(vocabulary, bytes, bytes.length, out, out.length, false, false);
      return [...out.subarray(0, count)];
    },
    close: () => llama.freeModel(model),
  };
}

/** A context with libllama's defaults but for these settings: keys and values in float16, flash attention by itself. */
export function openContext(
  llama: Llama,
  model: Pointer,
  { n_threads, ...settings }: Partial<Record<keyof typeof CONTEXT, number>> & { readonly n_threads: number },
): Pointer {
  const words = Uint32Array.from(llama.contextParams().words);
  checkDefaults(words);
  const all = { n_threads, n_threads_batch: n_threads, ...settings };
  for (const [name, value] of Object.entries(all)) words[CONTEXT[name as keyof typeof CONTEXT]] = value;
  const context = llama.makeContext(model, { words });
  if (!context) throw new Error('libllama made no context');
  return context;
}

/**
 * Has libllama compute tokens of rows.
 * @param positions and rows, one for each token.
 * @param wanted whether a token wants logits.
 */
export function decodeTokens(
  { ggml, llama, context }: { readonly ggml: Ggml; readonly llama: Llama; readonly context: Pointer },
  tokens: readonly number[],
  place: (i: number) => { readonly position: number; readonly row: number; readonly wanted: boolean },
): void {
  const places = tokens.map((_, i) => place(i));
  const ids = Int32Array.from(tokens);
  const positions = Int32Array.from(places, ({ position }) => position);
  const rows = Int32Array.from(places, ({ row }) => row);
  const { addressOf } = ggml;
  const start = addressOf(rows);
  const rowAddresses = BigUint64Array.from(tokens, (_, i) => start + BigInt(4 * i));
  const counts = new Int32Array(tokens.length).fill(1);
  const wanted = Int8Array.from(places, (each) => (each.wanted ? 1 : 0));
  const status = llama.decode(context, {
    n_tokens: tokens.length,
    token: addressOf(ids),
    embd: null,
    pos: addressOf(positions),
    n_seq_id: addressOf(counts),
    seq_id: addressOf(rowAddresses),
    logits: addressOf(wanted),
  });
  if (status !== 0) throw new Error(`llama_decode: ${status}`);
}
