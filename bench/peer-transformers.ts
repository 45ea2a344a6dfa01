/**
 * @file Another peer: transformers.js (ONNX Runtime, as here) on an export of the same model with the same weights, in a process of its own.
 */

import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { watchMemory } from './memory.ts';
import { writeOnnx } from './onnx-export.ts';
import {
  DECODE_TOKENS,
  DECODE_WARM_UP,
  type LoadOptions,
  PROMPT_WARM_UP,
  promptTokens,
  sameTokens,
  serve,
  type Timing,
  type Work,
} from './protocol.ts';
import { type ShapeConfig, shapes } from './shapes.ts';

/** The little of transformers.js that is used. It is typed here so that the project checks without it being installed. */
interface TransformersJs {
  readonly env: { allowRemoteModels: boolean; localModelPath: string };
  readonly AutoModelForCausalLM: {
    from_pretrained(name: string, options: Record<string, unknown>): Promise<Model>;
  };
  readonly Tensor: new (type: 'int64', data: BigInt64Array, dims: readonly number[]) => Tensor;
  readonly DynamicCache: new (entries?: Cache) => Cache;
}
type Tensor = { readonly dims: readonly number[] };
type Cache = Record<string, Tensor>;
interface Model {
  generate(options: {
    inputs: Tensor;
    attention_mask: Tensor;
    past_key_values?: Cache;
    max_new_tokens: number;
    streamer?: { put(tokens: unknown): void; end(): void };
    return_dict_in_generate: true;
  }): Promise<{ past_key_values: Cache }>;
}

let config: ShapeConfig;
let library: TransformersJs;
let model: Model;
/** Bytes. */
let weights: number;
let work: Work | undefined;
let prompt: number[];
/** Of the prompt's tokens. */
let cache: Cache;

serve({
  async load(options) {
    await startLibrary(options);
    const folder = exportOf(options);
    if (!existsSync(folder)) await writeOnnx(folder, config, options.seed);
    weights = statSync(join(folder, 'onnx', 'model_q4.onnx_data')).size;
    await load(options);
  },

  async prepare(next) {
    const reuse = next.kind !== 'prompt' && work && sameTokens(work, next);
    work = next;
    prompt = promptTokens(work.tokens, config.vocab_size);
    if (work.kind === 'prompt') {
      await read(prompt.slice(0, PROMPT_WARM_UP));
      return;
    }
    if (!reuse) await read(prompt);
    await this.run();
  },

  async run() {
    const { kind, rows } = work!;
    if (kind === 'prefill') return read(prompt);
    if (kind === 'prompt') {
      const memory = watchMemory(weights);
      const timing = await read(prompt);
      return { ...timing, memory: memory() };
    }
    // The prompt itself is told of first, then each token. It goes on in the cache that it is given, so that one is a new one.
    const times: number[] = [];
    const streamer = { put: () => void times.push(performance.now()), end: () => {} };
    const max_new_tokens = DECODE_WARM_UP + DECODE_TOKENS;
    const past_key_values = new library.DynamicCache(cache);
    await model.generate({ ...inputs([...prompt, prompt[0]!]), past_key_values, max_new_tokens, streamer, ...RESULT });
    return { tokens: DECODE_TOKENS * rows, ms: times[max_new_tokens]! - times[DECODE_WARM_UP]! };
  },

  async open(options) {
    await startLibrary(options);
    const start = performance.now();
    await load(options);
    return { tokens: 0, ms: performance.now() - start };
  },
});

const RESULT = { return_dict_in_generate: true } as const;

async function startLibrary(options: LoadOptions): Promise<void> {
  config = shapes[options.shape]!;
  const packageName: string = '@huggingface/transformers';
  library = (await import(packageName)) as TransformersJs;
  library.env.allowRemoteModels = false;
  library.env.localModelPath = dirname(exportOf(options));
}

function exportOf({ folder }: LoadOptions): string {
  return join(folder, 'transformers');
}

async function load(options: LoadOptions): Promise<void> {
  model = await library.AutoModelForCausalLM.from_pretrained(basename(exportOf(options)), {
    dtype: 'q4',
    device: 'cpu',
    use_external_data_format: true,
    session_options: { intraOpNumThreads: options.threads },
  });
}

/** A prompt from the start, up to the first token chosen; {@link cache} is of that prompt afterwards. */
async function read(tokens: number[]): Promise<Timing> {
  const start = performance.now();
  const { past_key_values } = await model.generate({ ...inputs(tokens), max_new_tokens: 1, ...RESULT });
  cache = past_key_values;
  return { tokens: tokens.length, ms: performance.now() - start };
}

/** The same tokens in each row. */
function inputs(tokens: readonly number[]): { inputs: Tensor; attention_mask: Tensor } {
  const dims = [work!.rows, tokens.length];
  const ids = Array.from({ length: work!.rows }, () => tokens.map(BigInt)).flat();
  return {
    inputs: new library.Tensor('int64', BigInt64Array.from(ids), dims),
    attention_mask: new library.Tensor('int64', new BigInt64Array(ids.length).fill(1n), dims),
  };
}
