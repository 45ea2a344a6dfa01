/**
 * @file ONNX Runtime's native build, on the CPU. The only file that imports it.
 */
import { availableParallelism } from 'node:os';
import * as ort from 'onnxruntime-node';
import type { OpGraph } from '../../ops/graph.ts';
import { GraphError } from '../../util/errors.ts';
import { scaledBlocks } from '../../weights/codec.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type {
  Backend,
  BackendOptions,
  CompiledGraph,
  StepInputs,
  StepOutputs,
  StepTensor,
  TensorData,
} from '../types.ts';
import { lowerToOnnx, type OnnxModel } from './lower/lower.ts';
import { onnxTarget } from './target.ts';

class OnnxGraph implements CompiledGraph {
  readonly #session: ort.InferenceSession;
  readonly #model: OnnxModel;
  /** The tensors of inputs that are given again and again: those of a cache, of a chunk's length, of adapters. */
  readonly #tensors = new WeakMap<StepTensor, ort.Tensor>();

  constructor(session: ort.InferenceSession, model: OnnxModel) {
    this.#session = session;
    this.#model = model;
  }

  async run(inputs: StepInputs): Promise<StepOutputs> {
    const feeds: Record<string, ort.Tensor> = {};
    for (const name of this.#model.inputs) feeds[name] = this.#tensor(name, inputs[name]);
    try {
      const outputs = await this.#session.run(feeds);
      return outputs as unknown as StepOutputs;
    } catch (cause) {
      throw new GraphError(`the step failed in ONNX Runtime: ${message(cause)}`, { cause });
    }
  }

  #tensor(name: string, input: StepTensor | undefined): ort.Tensor {
    if (!input) throw new GraphError(`the step has no input ${name}`);
    let tensor = this.#tensors.get(input);
    if (!tensor) {
      tensor = new ort.Tensor(dtypeOf(input.data), input.data, this.#model.dimsOf(name, input.dims));
      this.#tensors.set(input, tensor);
    }
    return tensor;
  }

  dispose(): Promise<void> {
    return this.#session.release();
  }
}

async function compile(graph: OpGraph, weights: PreparedWeights, options: BackendOptions = {}): Promise<CompiledGraph> {
  const model = lowerToOnnx(graph);
  try {
    const session = await ort.InferenceSession.create(model.serialize(weights), {
      executionProviders: ['cpu'],
      intraOpNumThreads: options.threads ?? availableParallelism(),
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      extra: {
        session: {
          // Threads wait for the next operator awake, which is worth a third of a small model's speed, and sleep between runs.
          force_spinning_stop: '1',
          intra_op: { allow_spinning: '1' },
          model_external_initializers_file_folder_path: weights.file.folder,
        },
      },
    });
    return new OnnxGraph(session, model);
  } catch (cause) {
    throw new GraphError(`ONNX Runtime refused the model: ${message(cause)}`, { cause });
  }
}

function dtypeOf(data: TensorData): 'float32' | 'int64' | 'float16' | 'uint8' | 'int8' | 'float64' {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof BigInt64Array) return 'int64';
  if (data instanceof Uint16Array) return 'float16';
  if (data instanceof Uint8Array) return 'uint8';
  return data instanceof Int8Array ? 'int8' : 'float64';
}

const message = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** ONNX Runtime on the CPU. */
export const onnxBackend: Backend = {
  name: 'onnxruntime-node',
  target: onnxTarget,
  codec: scaledBlocks,
  compile,
  countNodes: (graph) => lowerToOnnx(graph).nodeCount,
};
