/**
 * @file ONNX Runtime's native build, on the CPU. The only file that imports it.
 */
import { availableParallelism } from 'node:os';
import * as ort from 'onnxruntime-node';
import { GraphError } from '../errors.ts';
import type { PreparedWeights } from '../weights/types.ts';
import type { Runtime, RuntimeTensor, Session, SessionOptions, TensorData, Tensors } from './types.ts';

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

  release(): Promise<void> {
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
          // Idle threads that spin would take a whole core from everything else.
          intra_op: { allow_spinning: '0' },
          model_external_initializers_file_folder_path: weights.file.folder,
        },
      },
    });
    return new NodeSession(session);
  } catch (cause) {
    throw new GraphError(`ONNX Runtime refused the model: ${message(cause)}`, { cause });
  }
}

const message = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** The native CPU runtime. */
export const nodeRuntime: Runtime = {
  name: 'onnxruntime-node',
  tensor: (data: TensorData, dims: readonly number[]): RuntimeTensor =>
    data instanceof Float32Array ? new ort.Tensor('float32', data, dims) : new ort.Tensor('int64', data, dims),
  createSession,
};
