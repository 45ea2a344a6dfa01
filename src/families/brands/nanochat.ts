/**
 * @file Karpathy's nanochat: norms without weights, also behind the embedding; pairs that rotate the other way round;
 * squared ReLUs. Reference: transformers models/nanochat.
 */
import { type Family, llamaTensors, plainMlpTensors } from '../family.ts';
import { attnBias, qkNorm, readBase, ungatedMlp } from '../read-base.ts';

export const nanochat: Family = {
  modelTypes: ['nanochat'],
  config: (r) => {
    const base = readBase(r, { norm: { affine: false }, activation: 'relu2', rope: { fractionKeys: null } });
    const scaled = base.ropes.some(({ scaling }) => scaling.type === 'yarn' || scaling.type === 'longrope');
    if (scaled) r.fail('rope_parameters', 'scale cos and sin, which the norm behind the rotation would undo');
    const bias = r.bool('attention_bias', false);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ungatedMlp(base, false),
      // Heads are normalized after they are rotated. Without weights, that is the same as before.
      ...qkNorm(base, 'head'),
      ropes: base.ropes.map((rope) => ({ ...rope, reverse: true })),
      embedNorm: true,
      finalLogitSoftcapping: r.isNull('final_logit_softcapping') ? null : r.positive('final_logit_softcapping', 15),
    };
  },
  tensors: llamaTensors(plainMlpTensors('model.layers.{l}.mlp.fc1', 'model.layers.{l}.mlp.fc2')),
};
