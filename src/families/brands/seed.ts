/**
 * @file ByteDance's Seed-OSS: Llama with biases on queries, keys and values. Reference: transformers models/seed_oss.
 */
import { type Family, llamaTensors } from '../family.ts';
import { attnBias, readBase } from '../read-base.ts';

export const seedOss: Family = {
  modelTypes: ['seed_oss'],
  config: (r) => {
    const base = readBase(r, { headSize: 128, rope: { fractionKeys: null } });
    const bias = attnBias(base, r.bool('attention_bias', true), r.bool('attention_out_bias', false));
    return { ...base, ...bias, mlpBias: r.bool('mlp_bias', false) };
  },
  tensors: llamaTensors(),
};
