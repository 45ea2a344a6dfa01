/**
 * @file A backend and weights for tests that must not compute anything.
 */
import { onnxTarget } from '../../src/backends/onnx/target.ts';
import type { Backend } from '../../src/backends/types.ts';
import type { PrepareRequest } from '../../src/load/model-plan.ts';
import { scaledBlocks } from '../../src/weights/codec.ts';
import { layOut } from '../../src/weights/prepared/layout.ts';
import type { PreparedWeights } from '../../src/weights/types.ts';

/** A backend that refuses to be used. */
export const idleBackend: Backend = {
  name: 'idle',
  target: onnxTarget,
  codec: scaledBlocks,
  compile: () => Promise.reject(new Error('nothing was to be computed')),
};

/** Weights that are laid out and never made. */
export async function unmadeWeights({ specs }: PrepareRequest): Promise<PreparedWeights> {
  return { ...layOut(specs), file: { folder: '/nowhere', name: 'weights.bin' } };
}
