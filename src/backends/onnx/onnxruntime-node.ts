/**
 * @file ONNX Runtime's native build, on the CPU. The only file that imports it.
 */
import * as ort from 'onnxruntime-node';
import type { OpGraph } from '../../ops/graph.ts';
import { GraphError } from '../../util/errors.ts';
import { usableCores } from '../../util/machine-node.ts';
import { scaledBlocks } from '../../weights/codec.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { Backend, BackendOptions, CompiledGraph } from '../types.ts';
import { lowerToOnnx } from './lower/lower.ts';
import { OnnxGraph, type OnnxSession } from './onnx-session.ts';
import { onnxTarget } from './target.ts';

async function compile(graph: OpGraph, weights: PreparedWeights, options: BackendOptions = {}): Promise<CompiledGraph> {
  const model = lowerToOnnx(graph);
  try {
    const session = await ort.InferenceSession.create(model.serialize(weights), {
      executionProviders: ['cpu'],
      intraOpNumThreads: options.threads ?? usableCores(),
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      extra: {
        session: {
          // Threads spin until the next operator, which is worth a third of a small model's speed, but not between runs.
          force_spinning_stop: '1',
          intra_op: { allow_spinning: '1' },
          model_external_initializers_file_folder_path: weights.file.folder,
        },
      },
    });
    return new OnnxGraph(wrap(session), model);
  } catch (cause) {
    throw new GraphError(`ONNX Runtime refused the model: ${message(cause)}`, { cause });
  }
}

function wrap(session: ort.InferenceSession): OnnxSession<ort.Tensor> {
  return {
    tensor: (dtype, data, dims) => new ort.Tensor(dtype, data, dims),
    async run(feeds) {
      try {
        return await session.run(feeds);
      } catch (cause) {
        throw new GraphError(`the step failed in ONNX Runtime: ${message(cause)}`, { cause });
      }
    },
    release: () => session.release(),
  };
}

const message = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** ONNX Runtime on the CPU. */
export const onnxBackend: Backend = {
  name: 'onnxruntime-node',
  target: onnxTarget,
  codec: scaledBlocks,
  compile,
};
