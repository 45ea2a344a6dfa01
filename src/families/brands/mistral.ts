/**
 * @file Mistral AI: mistral and ministral3. Reference: transformers models of these names.
 */
import { type Family, llamaTensors } from '../family.ts';
import { readBase, window, windowSize, withAttention } from '../read-base.ts';

export const mistral: Family = {
  modelTypes: ['mistral'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    return { ...base, ...window(base, windowSize(r, 4096)) };
  },
  tensors: llamaTensors(),
};

/**
 * Ministral 3: queries grow with the logarithm of their position, beyond the length that the model was first trained
 * with.
 */
export const ministral3: Family = {
  modelTypes: ['ministral3'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      headSize: 128,
      nQueryGroups: 8,
      rope: { theta: 1e6, fractionKeys: null },
    });
    const rope = r.object('rope_parameters');
    const beta = rope?.float('llama_4_scaling_beta', 0, 0) ?? 0;
    const floor = rope?.int('original_max_position_embeddings', base.contextLength) ?? base.contextLength;
    const temperature = beta > 0 ? { beta, floor, offset: 0 } : null;
    return {
      ...base,
      ...window(base, r.intOrNull('sliding_window')),
      layer: (layer) => withAttention(layer, { temperature }),
    };
  },
  tensors: llamaTensors(),
};
