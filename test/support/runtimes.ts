/**
 * @file Runtimes and weights for tests that must not compute anything.
 */

import type { Runtime } from '../../src/backends/types.ts';
import type { PrepareRequest } from '../../src/load/plan.ts';
import { layOut } from '../../src/weights/layout.ts';
import type { PreparedWeights } from '../../src/weights/types.ts';

/** A runtime that refuses to be used. */
export const idleRuntime: Runtime = {
  name: 'idle',
  tensor: () => {
    throw new Error('nothing was to be computed');
  },
  createSession: () => Promise.reject(new Error('nothing was to be computed')),
};

/** Weights that are laid out and never made. */
export async function unmadeWeights({ specs }: PrepareRequest): Promise<PreparedWeights> {
  return { ...layOut(specs), file: { folder: '/nowhere', name: 'weights.bin' } };
}
