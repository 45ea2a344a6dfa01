/**
 * @file Apertus (arXiv 2509.14233): Llama with norms of queries and keys, and a plain MLP with a learned activation.
 * Reference: transformers models/apertus.
 */
import { type Family, llamaTensors, plainMlpTensors } from '../family.ts';
import { attnBias, qkNorm, readBase } from '../read-base.ts';

export const apertus: Family = {
  modelTypes: ['apertus'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, keys: { activation: null }, rope: { fractionKeys: null, theta: 12e6 } });
    r.refuse('hidden_act', 'only "xielu" is supported', ['xielu']);
    r.refuse('qk_norm', 'only true is supported', [true]);
    r.refuse('post_norm', 'norms behind attention and MLP are not supported in this family');
    const bias = r.bool('attention_bias', false);
    const mlpBias = r.bool('mlp_bias', false);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...qkNorm(base, 'head'),
      layer: (layer) => ({
        ...layer,
        mlp: { kind: 'plain', size: base.intermediateSize, bias: mlpBias, activation: 'xielu' },
      }),
    };
  },
  tensors: llamaTensors({
    'h.{l}.norm_1': 'model.layers.{l}.attention_layernorm',
    'h.{l}.norm_2': 'model.layers.{l}.feedforward_layernorm',
    ...plainMlpTensors('model.layers.{l}.mlp.up_proj', 'model.layers.{l}.mlp.down_proj'),
    'h.{l}.mlp.act.alpha_p': { bare: 'model.layers.{l}.mlp.act_fn.alpha_p' },
    'h.{l}.mlp.act.alpha_n': { bare: 'model.layers.{l}.mlp.act_fn.alpha_n' },
    'h.{l}.mlp.act.beta': { bare: 'model.layers.{l}.mlp.act_fn.beta' },
    'h.{l}.mlp.act.eps': { bare: 'model.layers.{l}.mlp.act_fn.eps' },
  }),
};
