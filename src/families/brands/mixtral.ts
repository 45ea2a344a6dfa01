/**
 * @file Mistral AI's mixtral. Reference: the transformers model of this name.
 */
import { type Family, llamaTensors } from '../family.ts';
import { localExperts, moeLayers, SPARSE_EXPERTS } from '../moe.ts';
import { readBase, window } from '../read-base.ts';

export const mixtral: Family = {
  modelTypes: ['mixtral'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, nQueryGroups: undefined, rope: { theta: 1e6, fractionKeys: null } });
    r.float('router_jitter_noise', 0); // noise of training
    return { ...base, ...window(base, r.intOrNull('sliding_window')), ...moeLayers(base, localExperts(r, 8)) };
  },
  tensors: llamaTensors(SPARSE_EXPERTS),
};
