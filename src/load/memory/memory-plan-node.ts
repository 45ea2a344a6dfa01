/**
 * @file The plan of memory in Node: for each of its engines.
 */
import { ggmlCodec } from '../../backends/ggml/weights/weight-codec.ts';
import type { Checkpoint } from '../../checkpoint/types.ts';
import type { Config } from '../../config/config.ts';
import { keepStored } from '../../weights/prepared/keep-stored.ts';
import type { Param, WeightFormat } from '../../weights/types.ts';
import { defaultEngine, type EngineName } from '../engines-node.ts';
import { planModel } from '../plan.ts';
import { keptFormats } from '../weights/kept-formats.ts';
import { ggmlMemory } from './ggml-memory-node.ts';
import {
  type MemoryPlanOptions as CommonOptions,
  checkPlanCall,
  type MemoryPlan,
  planMemoryOf,
} from './memory-plan.ts';
import { onnxMemory } from './onnx-memory.ts';

/** The options of the plan, and the engine that it is for. */
export interface MemoryPlanOptions extends CommonOptions {
  /**
   * What computes the model.
   * @default `$KEYHOLD_ENGINE`, or `ggml`
   */
  readonly engine?: EngineName;
  /**
   * Where the weights come from: blocks of a GGUF file that the engine keeps as they are count as such.
   * @default none: all weights are quantized anew
   */
  readonly checkpoint?: Checkpoint;
}

/**
 * Plans the memory of a model. Nothing is loaded.
 *
 * The peak of a process that reads a prompt and writes until `contextLength` tokens are there is estimated as
 *
 *     total     = runtime + resident (private + mapped) + cache + bookkeeping + workspace
 *     cache     = slots · bytes of a slot in its format, as `cache` says
 *     workspace = graph + 2 · 4·B·V for logits + copies of a chunk's keys and values + garbage
 *
 * `graph` is what ggml plans for the largest chunk: it is asked for. The other numbers were fitted to measured peaks
 * (`npm run bench:memory`), and are of Linux on x86-64.
 * @throws InputError for a contextLength or chunkLength that is not a whole number from 1 on, or cache options that the
 * policy refuses; EngineError where ggml is not installed: plan for `engine: 'onnx'` then.
 * @example
 * ```ts
 * import { openCheckpoint, planMemory, planModel } from 'keyhold/checkpoint';
 *
 * const checkpoint = await openCheckpoint('keyhold/tiny');
 * const { config } = planModel(checkpoint);
 * const { total } = planMemory(config, { contextLength: 100_000, cache: { policy: 'lastrec', cacheLength: 512 } });
 * console.log(total.int8); // bytes
 * await checkpoint.close();
 * ```
 */
export function planMemory(config: Config, options: MemoryPlanOptions = {}): MemoryPlan {
  checkPlanCall(config, options);
  const { engine = defaultEngine(), checkpoint, ...common } = options;
  if (engine === 'onnx') return planMemoryOf(onnxMemory, config, common);
  return planMemoryOf(ggmlMemory, config, common, keptOf(checkpoint, common.weights));
}

function keptOf(checkpoint: Checkpoint | undefined, wish: CommonOptions['weights']) {
  if (!checkpoint) return undefined;
  const { resolver } = planModel(checkpoint);
  return (params: readonly Param[], format: WeightFormat): readonly Param[] =>
    keepStored(params, (param) => resolver.source(param), ggmlCodec, keptFormats(wish, format, ggmlCodec));
}
