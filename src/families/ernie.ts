/**
 * @file Baidu's ERNIE 4.5: Llama with interleaved rotation. Reference: transformers models/ernie4_5.
 */
import { type Family, llamaTensors } from './family.ts';
import { attnBias, readBase } from './read-base.ts';

export const ernie45: Family = {
  modelTypes: ['ernie4_5'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      headSize: 128,
      tie: true,
      rope: { interleave: true, theta: 500_000, fractionKeys: null },
    });
    const bias = r.bool('use_bias', false);
    return { ...base, ...attnBias(base, bias, bias), mlpBias: bias };
  },
  tensors: llamaTensors(),
};
