/**
 * @file ONNX Runtime's native build, on the CPU. The only file that imports it.
 */
import { availableParallelism } from 'node:os';
import * as ort from 'onnxruntime-node';
import { GraphError } from '../../util/errors.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { Runtime, RuntimeTensor, Session, SessionOptions, TensorData, Tensors } from '../types.ts';

class NodeSession implements Session {
  readonly #session: ort.InferenceSession;

  constructor(session: ort.InferenceSession) {
    this.#session = session;
  }

  async run(inputs: Tensors): Promise<Tensors> {
    try {
      return (await this.#session.run(inputs as Record<string, ort.Tensor>)) as unknown as Tensors;
    } catch (cause) {
      throw new GraphError(`the step failed in ONNX Runtime: ${message(cause)}`, { cause });
    }
  }

  dispose(): Promise<void> {
    return this.#session.release();
  }
}

async function createSession(
  model: Uint8Array,
  weights: PreparedWeights,
  options: SessionOptions = {},
): Promise<Session> {
  try {
    const session = await ort.InferenceSession.create(model, {
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
    return new NodeSession(session);
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

/** The native CPU runtime. */
export const nodeRuntime: Runtime = {
  name: 'onnxruntime-node',
  tensor: (data: TensorData, dims: readonly number[]): RuntimeTensor => new ort.Tensor(dtypeOf(data), data, dims),
  createSession,
};
