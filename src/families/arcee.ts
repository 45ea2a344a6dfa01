/**
 * @file Arcee's AFM: Llama with a plain MLP of squared ReLUs. Reference: transformers models/arcee.
 */
import { type Family, llamaTensors, plainMlpTensors } from './family.ts';
import { attnBias, readBase, ungatedMlp } from './read-base.ts';

export const arcee: Family = {
  modelTypes: ['arcee'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, activation: 'relu2', rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...ungatedMlp(base, r.bool('mlp_bias', false)) };
  },
  tensors: llamaTensors(plainMlpTensors('model.layers.{l}.mlp.up_proj', 'model.layers.{l}.mlp.down_proj')),
};
