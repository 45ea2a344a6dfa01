/**
 * @file Gemma 3n: alternating updates of four streams, a low-rank branch beside attention, layers that read an earlier
 * one's keys and values, a vector of token and layer, sparse activations. Reference: transformers models/gemma3n.
 */
import type { AttentionSpec } from '../../config/layer-spec.ts';
import type { GatedMlp } from '../../config/mlp-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import type { Family } from '../family.ts';
import { MAX_LAYERS, qkNorm, readBase, ropesByType, slidingLayers, window } from '../read-base.ts';
import { GEMMA4_TENSORS, ignoreSharedKeys, kvSources } from './gemma4.ts';

const layer = 'model.layers.{l}';

/** The share of each layer's activations that is cut. */
function sparsities(r: ConfigReader, nLayer: number): number[] {
  const key = 'activation_sparsity_pattern';
  if (!r.has(key)) return range(nLayer).map((l) => (nLayer > 10 && l < 10 ? 0.95 : 0));
  const shares = r.numbers(key, nLayer);
  const wrong = shares.find((share) => share < 0 || share >= 1);
  if (wrong !== undefined) r.fail(key, `must hold numbers from 0 to below 1, but has ${wrong}`);
  return shares;
}

export const gemma3n: Family = {
  modelTypes: ['gemma3n_text'],
  config: (r) => {
    const widths = r.ints('intermediate_size', r.int('num_hidden_layers', 35, 1, MAX_LAYERS), 16384);
    const base = readBase(r, {
      nLayer: widths.length,
      headSize: 256,
      nQueryGroups: 2,
      tie: true,
      activation: 'gelu_pytorch_tanh',
      keys: { activation: ['hidden_activation', 'hidden_act'], intermediateSize: null },
      intermediateSize: () => Math.max(...widths),
      rope: null,
    });
    const { nLayer, norm } = base;
    r.refuse('attention_bias', 'biases are not supported in this family');
    r.refuse('altup_active_idx', 'only 0 is supported', [0]);
    r.skip('altup_coef_clip', 'altup_lr_multiplier', 'query_pre_attn_scalar'); // of training, and read by no code
    const sliding = slidingLayers(r, nLayer, (l) => (l + 1) % 5 !== 0);
    const from = kvSources(r, sliding, 15);
    const shares = sparsities(r, nLayer);
    const laurel = { rank: r.int('laurel_rank', 64) };
    const rope = { headSize: base.headSize, maxSeq: base.contextLength, fractionKeys: null, theta: 1e6 };
    const size = r.int('hidden_size_per_layer_input', 256);
    const rows = r.int('vocab_size_per_layer_input', base.vocabSize);
    return {
      ...base,
      ...qkNorm(base, 'head'),
      ...window(base, r.int('sliding_window', 512), (l) => sliding[l]),
      position: 'rope',
      ...ropesByType(r, rope, sliding, r.positive('rope_local_base_freq', 1e4)),
      embedScale: Math.sqrt(base.nEmbd),
      attentionScale: 1,
      postAttentionNorm: true,
      postMlpNorm: true,
      finalLogitSoftcapping: r.isNull('final_logit_softcapping') ? null : r.positive('final_logit_softcapping', 30),
      perLayerInput: { rows: Math.max(rows, base.vocabSize), size },
      altUp: { count: r.int('altup_num_inputs', 4, 2, 64), scalesFirst: r.bool('altup_correct_scale', true) },
      layer: ({ mixer, mlp, ...spec }, l) => ({
        ...spec,
        mixer:
          from[l] === l
            ? { ...(mixer as AttentionSpec), kind: 'self-attention', valueNorm: norm }
            : { ...(mixer as AttentionSpec), kind: 'shared-attention', source: from[l] },
        mlp: { ...(mlp as GatedMlp), size: widths[l], sparsity: shares[l] },
        laurel,
      }),
    };
  },
  tensors: {
    ...GEMMA4_TENSORS,
    // Tokens of images and sounds, which come last, have no rows: they take the first.
    wte_layers: { extended: 'model.embed_tokens_per_layer' },
    'alt_up_in.{e}': 'model.altup_projections.{e}',
    'alt_up_out.{e}': 'model.altup_unembed_projections.{e}',
    'h.{l}.alt_up.router': `${layer}.altup.modality_router`,
    'h.{l}.alt_up.router_norm': `${layer}.altup.router_norm`,
    'h.{l}.alt_up.predict': `${layer}.altup.prediction_coefs`,
    'h.{l}.alt_up.correct': `${layer}.altup.correction_coefs`,
    'h.{l}.alt_up.scale': { bare: `${layer}.altup.correct_output_scale` },
    'h.{l}.laurel.left': `${layer}.laurel.linear_left`,
    'h.{l}.laurel.right': `${layer}.laurel.linear_right`,
    'h.{l}.laurel_norm': `${layer}.laurel.post_laurel_norm`,
  },
  ignore: [ignoreSharedKeys],
};
