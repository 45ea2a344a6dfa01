/**
 * @file Models as transformers 4.57 computes some of them in eager mode without a cache: moshi without a causal mask,
 * recurrent_gemma and mimi without their windows. That is no model that anybody trained; golden values that were made so can be told from
 * wrong ones by it.
 */

import { nodeRuntime } from '../../src/backends/onnx/onnxruntime-node.ts';
import { openCheckpointFolder } from '../../src/checkpoint/open-node.ts';
import { type Config, isEncoder } from '../../src/config/config.ts';
import { createCache } from '../../src/kvcache/policies.ts';
import { planModel } from '../../src/load/plan.ts';
import { Encoder } from '../../src/step/encoder-runner.ts';
import { Stepper } from '../../src/step/stepper.ts';
import { openPreparedWeights } from '../../src/weights/store-node.ts';
import { argmax, cutInto, type Golden, LOGIT_TOLERANCE, largestError, rowsOf } from './case.ts';

/** Families whose golden values may be of this kind. */
const FORGETFUL: Readonly<Record<string, 'causal' | 'window'>> = {
  moshi: 'causal',
  mimi: 'window',
  recurrent_gemma: 'window',
};

/** What was compared, where all golden values are those of the model without its mask. */
export interface Unmasked {
  readonly error: number;
  readonly note: string;
}

/** @returns null where the golden values are no such values. */
export async function compareUnmasked(
  path: string,
  cacheDir: string,
  golden: ReadonlyMap<string, Golden>,
): Promise<Unmasked | null> {
  const checkpoint = await openCheckpointFolder(path);
  try {
    const plan = planModel(checkpoint, 'float32');
    const without = FORGETFUL[plan.config.name];
    if (!without) return null;
    const weights = await openPreparedWeights({
      specs: plan.params,
      format: 'float32',
      identity: checkpoint.identity,
      source: (param) => plan.resolver.source(param),
      cacheDir,
    });
    const config: Config = { ...plan.config, slidingWindowSize: null };
    const head = plan.params.find(({ name }) => name === 'lm_head.weight');
    const matrix = head ? await plan.resolver.source(head).read(0, config.vocabSize) : null;
    const runs = isEncoder(config)
      ? encoding(config, weights)
      : without === 'window'
        ? decoding(config, weights)
        : encoding({ ...config, causal: false, output: 'hidden' }, weights, matrix);
    try {
      const note = `as computed without ${without === 'window' ? 'the window' : 'a causal mask'}, which is how transformers 4.57 made these values`;
      return await compare(runs.run, golden, note);
    } finally {
      await runs.dispose();
    }
  } finally {
    await checkpoint.close();
  }
}

/** Rows of token ids or vectors → logits or hidden states of all tokens. */
type Run = (input: { ids: number[][] } | { vectors: Float32Array[] }) => Promise<Float32Array>;
interface Runs {
  readonly run: Run;
  dispose(): Promise<void>;
}
type Weights = Awaited<ReturnType<typeof openPreparedWeights>>;

function decoding(config: Config, weights: Weights): Runs {
  const stepper = new Stepper(config, weights, 'float32', nodeRuntime, {});
  return {
    run: async (input) => {
      const { ids } = input as { ids: number[][] };
      const cache = createCache(stepper.cacheShape, { policy: 'dense', cacheLength: 512, batch: ids.length });
      return (await stepper.step(cache, ids, { logits: 'all' })).logits;
    },
    dispose: () => stepper.dispose(),
  };
}

/** @param head makes logits of hidden states. */
function encoding(config: Config, weights: Weights, head: Float32Array | null = null): Runs {
  const encoder = new Encoder(config, weights, 'float32', nodeRuntime, {});
  const E = config.nEmbd;
  return {
    run: async (input) => {
      const hidden = (await encoder.run(input)).data;
      if (!head) return hidden;
      const [tokens, V] = [hidden.length / E, head.length / E];
      const logits = new Float32Array(tokens * V);
      for (let t = 0; t < tokens; t++)
        for (let v = 0; v < V; v++)
          for (let i = 0; i < E; i++) logits[t * V + v] += hidden[t * E + i] * head[v * E + i];
      return logits;
    },
    dispose: () => encoder.dispose(),
  };
}

async function compare(run: Run, golden: ReadonlyMap<string, Golden>, note: string): Promise<Unmasked | null> {
  const [ids, vectors] = [golden.get('input_ids'), golden.get('inputs_embeds')];
  const input = ids ? { ids: rowsOf(ids) } : { vectors: cutInto(vectors!, vectors!.shape[0]) };
  const error = largestError(await run(input), (golden.get('logits') ?? golden.get('hidden'))!.data);
  if (!(error <= LOGIT_TOLERANCE)) return null;
  const [prompt, tokens] = [golden.get('greedy_prompt'), golden.get('greedy_tokens')];
  if (!prompt || !tokens) return { error, note };
  const sequence = Array.from(prompt.data);
  for (const expected of tokens.data) {
    const logits = await run({ ids: [sequence] });
    if (argmax(logits, logits.length - logits.length / sequence.length) !== expected) return null;
    sequence.push(expected);
  }
  return { error, note: `${note}; ${tokens.data.length} greedy tokens` };
}
