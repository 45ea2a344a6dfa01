/**
 * @file Llama 4: attention in chunks with rotation, full layers without, experts that read what their weight was
 * multiplied with. Reference: transformers models/llama4.
 */
import { type Family, llamaTensors } from '../family.ts';
import { expertCount, mixture, router, sharedTensors, transposedExpertsIn } from '../mixture.ts';
import { attnBias, qkNorm, readBase, ropeOn, rotatingLayers, withAttention } from '../read-base.ts';

const KEYS = { intermediateSize: ['intermediate_size_mlp'] };
const ff = 'model.layers.{l}.feed_forward';

export const llama4: Family = {
  modelTypes: ['llama4_text'],
  config: (r) => {
    const width = r.int('intermediate_size', 8192);
    const rope = { interleave: true, theta: 500_000, fractionKeys: null };
    const base = readBase(r, { keys: KEYS, normEps: 1e-5, headSize: 128, nQueryGroups: 8, rope });
    const bias = r.bool('attention_bias', false);
    const rotates = rotatingLayers(r, base.nLayer);
    r.skip('layer_types', 'router_jitter_noise', 'for_llm_compressor'); // the first says what rotates, once more
    const chunk = r.intOrNull('attention_chunk_size');
    const temperature = { beta: r.float('attn_scale', 0.1, 0), floor: r.int('floor_scale', 8192), offset: 1 };
    const still = { temperature: r.flag('attn_temperature_tuning', true) ? temperature : null }; // 4 stands for true
    const normed = r.bool('use_qk_norm', true);
    // Heads are normalized after they are rotated. Without weights, that is the same as before, unless cos and sin are
    // scaled.
    const { normQk } = qkNorm({ ...base, norm: { ...base.norm, affine: false } }, 'head');
    const rotating = { chunk, qkNorm: normed ? normQk : null };
    if (normed && base.ropes.some(({ scaling }) => scaling.type === 'yarn' || scaling.type === 'longrope'))
      r.fail('rope_scaling', 'scales cos and sin, which the norm behind the rotation would undo');
    const { count, perToken } = expertCount(r, 'num_local_experts', 'num_experts_per_tok', [16, 1]);
    const step = r.int('interleave_moe_layer_step', 1, 0);
    const listed = r.has('moe_layers') ? r.numbers('moe_layers') : null;
    const sparse = (l: number) => listed?.includes(l) ?? (step > 0 && (l + 1) % step === 0);
    const experts = { count, size: width, scaledInput: true };
    const shared = { size: width, gate: false };
    const mlp = mixture(base, { router: router(perToken, { score: 'sigmoid' }), experts, shared });
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ropeOn(base, (l) => rotates[l]),
      layer: (layer, l) => withAttention(sparse(l) ? { ...layer, mlp } : layer, rotates[l] ? rotating : still),
    };
  },
  tensors: llamaTensors({
    'h.{l}.mlp.fc_1': `${ff}.gate_proj`,
    'h.{l}.mlp.fc_2': `${ff}.up_proj`,
    'h.{l}.mlp.proj': `${ff}.down_proj`,
    'h.{l}.mlp.gate': `${ff}.router`,
    ...transposedExpertsIn(`${ff}.experts`),
    ...sharedTensors(`${ff}.shared_expert`),
  }),
};
