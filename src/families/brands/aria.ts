/**
 * @file Rhymes AI's aria. Reference: transformers models/aria.
 */
import { type Family, fusedGateUp, llamaTensors } from '../family.ts';
import { expertCounts, moeLayers } from '../moe.ts';
import { attnBias, readBase } from '../read-base.ts';

export const aria: Family = {
  modelTypes: ['aria_text'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    const width = r.int('moe_intermediate_size', base.intermediateSize); // stated twice by some
    if (width !== base.intermediateSize)
      r.fail('moe_intermediate_size', `is ${width}, but intermediate_size is ${base.intermediateSize}`);
    for (const key of ['moe_aux_loss_coeff', 'moe_z_loss_coeff']) r.float(key, 0); // of training
    return {
      ...base,
      ...attnBias(base, bias, bias),
      mlpBias: r.bool('mlp_bias', false),
      ...moeLayers(base, {
        ...expertCounts(r, ['moe_num_experts', 8], ['moe_topk', 2]),
        sharedSize: base.intermediateSize * r.int('moe_num_shared_experts', 2, 0),
      }),
    };
  },
  tensors: llamaTensors({
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.router',
    ...fusedGateUp(
      { transposed: { nthOf: 'experts', from: 'model.layers.{l}.mlp.experts.fc1' } },
      'h.{l}.mlp.experts.{e}',
    ),
    'h.{l}.mlp.experts.{e}.proj': { transposed: { nthOf: 'experts', from: 'model.layers.{l}.mlp.experts.fc2' } },
    'h.{l}.mlp.shared.fc_1': 'model.layers.{l}.mlp.shared_experts.gate_proj',
    'h.{l}.mlp.shared.fc_2': 'model.layers.{l}.mlp.shared_experts.up_proj',
    'h.{l}.mlp.shared.proj': 'model.layers.{l}.mlp.shared_experts.down_proj',
  }),
};
