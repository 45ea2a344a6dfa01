/**
 * @file How large the inputs of each matrix are: the mean square of each column, measured while the model reads a text.
 * A weight that is multiplied with large inputs has to be stored with a small error.
 */
import type { Backend, BackendOptions, CompiledGraph } from '../../backends/types.ts';
import { type Config, isEncoder } from '../../config/config.ts';
import { shippedTexts, spreadWindows } from '../../engine/calibration/calibrate.ts';
import { createCache } from '../../kvcache/policies.ts';
import { FURTHER } from '../../model/further.ts';
import { crossSpec } from '../../model/mixers/cross-attention.ts';
import { mul, reduceSum, reshape } from '../../ops/basic.ts';
import type { OpGraph } from '../../ops/graph.ts';
import { Stepper } from '../../step/stepper.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { PreparedWeights, WeightFormat } from '../../weights/types.ts';

/** Tokens that are read, in windows of {@link WINDOW}. Other numbers were not measured. */
const TOKENS = 1024;
const WINDOW = 256;
const PREFIX = 'moments:';

/** What is measured: by name of the parameter, one value for each column. */
export type InputMoments = ReadonlyMap<string, Float32Array>;

export interface MomentsOptions extends BackendOptions {
  readonly config: Config;
  readonly tokenizer: Tokenizer;
  readonly backend: Backend;
  readonly weights: PreparedWeights;
  readonly format: WeightFormat;
  readonly signal?: AbortSignal;
}

/** Whether a model can be measured: decoders that read text. */
export const canMeasure = (config: Config, tokenizer: Tokenizer | null): tokenizer is Tokenizer =>
  tokenizer !== null && !isEncoder(config) && crossSpec(config) === null;

/**
 * Reads the texts of calibration. Matrices of experts are not measured: each token reaches few of them.
 * @throws the signal's reason.
 */
export async function measureMoments(options: MomentsOptions): Promise<InputMoments> {
  const { config, tokenizer, weights, format, threads, signal } = options;
  const sums = new Map<string, Float64Array>();
  const stepper = new Stepper({ config, format, parts: FURTHER }, weights, observing(options.backend, sums), {
    threads,
  });
  try {
    const ids = tokenizer.encode((await shippedTexts()).join('\n\n'), { addSpecialTokens: false });
    const [lead] = tokenizer.encode('', { addSpecialTokens: true });
    const length = Math.min(WINDOW, config.contextLength, ids.length);
    const body = length - (lead === undefined ? 0 : 1);
    const count = Math.min(Math.floor(ids.length / body), Math.ceil(TOKENS / length));
    for (const own of spreadWindows(ids, body, count)) {
      signal?.throwIfAborted();
      const window = [...(lead === undefined ? [] : [lead]), ...own];
      const cache = createCache(stepper.cacheShape, { policy: 'dense', cacheLength: length });
      await stepper.step(cache, [window], { logits: 'all', phase: 'prompt', lengths: [length] });
    }
    return new Map([...sums].map(([name, columns]) => [name, meanOf(columns)]));
  } finally {
    await stepper.dispose();
  }
}

/** Divided by their mean, and none of them 0: a column that the text did not reach still counts a little. */
function meanOf(columns: Float64Array): Float32Array {
  const mean = columns.reduce((sum, value) => sum + value, 0) / columns.length || 1;
  return Float32Array.from(columns, (value) => Math.max(value / mean, 1e-4));
}

/** A backend whose graphs also add up the squares of what each `linear` reads. */
function observing(backend: Backend, sums: Map<string, Float64Array>): Backend {
  return {
    ...backend,
    async compile(graph, weights, options): Promise<CompiledGraph> {
      const observed = observe(graph);
      const compiled = await backend.compile(graph, weights, options);
      return {
        async run(inputs, runOptions) {
          const outputs = await compiled.run(inputs, runOptions);
          for (const [output, name] of observed) {
            const { data } = outputs[output];
            const sum = sums.get(name) ?? new Float64Array(data.length);
            for (let i = 0; i < sum.length; i++) sum[i] += data[i];
            sums.set(name, sum);
          }
          return outputs;
        },
        dispose: () => compiled.dispose(),
      };
    },
  };
}

/** Adds an output for each matrix. @returns names of parameters by those of outputs. */
function observe(graph: OpGraph): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const node of [...graph.nodes]) {
    if (node.op !== 'linear') continue;
    const [x, weight] = node.inputs;
    const param = weight && graph.params.get(weight.name);
    if (!x || !param || names.has(PREFIX + param.name)) continue;
    const cols = param.shape[1];
    const rows = reshape(graph, x, [-1, cols], ['rows', cols]);
    graph.output(reduceSum(graph, mul(graph, rows, rows), 0), PREFIX + param.name);
    names.set(PREFIX + param.name, param.name);
  }
  return names;
}
