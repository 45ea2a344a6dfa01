/**
 * @file Gemma 4: heads of full layers have a size of their own, some layers read the keys and values of an earlier one,
 * values are normalized, a vector of token and layer ends each layer. Reference: transformers models/gemma4.
 */
import type { AttentionSpec, LayerSpec } from '../../config/layer-spec.ts';
import type { GatedMlp, MoeMlp } from '../../config/mlp-spec.ts';
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import type { TensorMap } from '../../weights/tensor-map.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount, expertsIn, mixture, router, sharedTensors } from '../mixture.ts';
import { qkNorm, readBase, slidingLayers, window } from '../read-base.ts';
import { readRope } from '../read-rope.ts';

/** What `per_layer_config` says of a layer, in place of the whole config's value. */
function ofLayer(r: ConfigReader, layer: number, key: string): number | null {
  // Newer versions of transformers pad the number of the layer with zeros.
  const keys = [1, 2, 3, 4].map((width) => String(layer).padStart(width, '0'));
  return r.object('per_layer_config')?.object(keys)?.intOrNull(key) ?? null;
}

/** Sizes of each layer's heads. */
function headSizes(r: ConfigReader, base: FamilyConfig, sliding: readonly boolean[]): number[] {
  const full = r.intOrNull('global_head_dim') ?? (r.has('per_layer_config') ? base.headSize : 512);
  const sizes = sliding.map((on, l) => ofLayer(r, l, 'head_dim') ?? (on ? base.headSize : full));
  for (const on of [true, false])
    if (new Set(sizes.filter((_, l) => sliding[l] === on)).size > 1)
      r.fail('per_layer_config', 'must give all layers of one type heads of one size');
  return sizes;
}

/** The layer whose keys and values each layer reads: its own, or the last of its type that has any. */
export function kvSources(r: ConfigReader, sliding: readonly boolean[], fallback = 0): number[] {
  const own = sliding.length - r.int('num_kv_shared_layers', fallback, 0, sliding.length - 1);
  return sliding.map((on, l) => {
    const source = l < own ? l : sliding.lastIndexOf(on, own - 1);
    if (source < 0) r.fail('num_kv_shared_layers', `leaves layer ${l} without a layer of its type to share with`);
    return source;
  });
}

/** The experts that stand beside the MLP; null: there are none. */
function besideMlp(r: ConfigReader, base: FamilyConfig): MoeMlp | null {
  if (!r.bool('enable_moe_block', false)) {
    r.skip('num_experts', 'top_k_experts', 'moe_intermediate_size');
    return null;
  }
  const { count, perToken } = expertCount(r, 'num_experts', 'top_k_experts', [128, 8]);
  return mixture(base, {
    router: router(perToken, { normP: 1, inputNorm: base.norm, expertScale: true }),
    experts: { count, size: r.int('moe_intermediate_size') },
  });
}

export const GEMMA4_TENSORS: TensorMap = llamaTensors({
  'h.{l}.norm_2': 'model.layers.{l}.pre_feedforward_layernorm',
  'h.{l}.post_attention_norm': 'model.layers.{l}.post_attention_layernorm',
  'h.{l}.post_mlp_norm': 'model.layers.{l}.post_feedforward_layernorm',
  'h.{l}.mlp.gate': 'model.layers.{l}.router.proj',
  'h.{l}.mlp.gate_norm': { bare: 'model.layers.{l}.router.scale' },
  'h.{l}.mlp.expert_scale': { bare: 'model.layers.{l}.router.per_expert_scale' },
  'h.{l}.mlp.experts_norm_1': 'model.layers.{l}.pre_feedforward_layernorm_2',
  'h.{l}.mlp.experts_norm_2': 'model.layers.{l}.post_feedforward_layernorm_2',
  'h.{l}.mlp.shared_norm': 'model.layers.{l}.post_feedforward_layernorm_1',
  ...expertsIn('model.layers.{l}.experts'),
  ...sharedTensors('model.layers.{l}.mlp'),
  wte_layers: 'model.embed_tokens_per_layer',
  per_layer_in: 'model.per_layer_model_projection',
  per_layer_norm: 'model.per_layer_projection_norm',
  'h.{l}.per_layer.gate': 'model.layers.{l}.per_layer_input_gate',
  'h.{l}.per_layer.proj': 'model.layers.{l}.per_layer_projection',
  'h.{l}.per_layer_norm': 'model.layers.{l}.post_per_layer_input_norm',
  'h.{l}.out.scale': { bare: 'model.layers.{l}.layer_scalar' },
});

/** Files may hold keys and values of layers that read another's. */
export const ignoreSharedKeys = (name: string, { layers }: { readonly layers: readonly LayerSpec[] }): boolean => {
  const found = /layers\.(\d+)\.self_attn\.(k_proj|v_proj|k_norm)\./.exec(name);
  return found !== null && layers[Number(found[1])]?.mixer?.kind === 'shared-attention';
};

export const gemma4: Family = {
  modelTypes: ['gemma4_text', 'gemma4_unified_text'],
  config: (r) => {
    const base = readBase(r, {
      headSize: 256,
      nQueryGroups: 4,
      tie: true,
      activation: 'gelu_pytorch_tanh',
      keys: { activation: ['hidden_activation', 'hidden_act'] },
      rope: null,
    });
    const { nLayer, norm } = base;
    r.refuse('attention_bias', 'biases are not supported in this family');
    const moe = besideMlp(r, base);
    r.refuse('use_bidirectional_attention', 'only "vision" and null are supported', ['vision']);
    // The last layer is full, whatever the file says.
    const sliding = slidingLayers(r, nLayer, (l) => (l + 1) % 6 !== 0).map((on, l) => on && l !== nLayer - 1);
    const sizes = headSizes(r, base, sliding);
    const from = kvSources(r, sliding);
    const same = r.bool('attention_k_eq_v', false);
    const globalGroups = r.intOrNull('num_global_key_value_heads');
    if (!r.has('rope_parameters')) r.fail('rope_parameters', 'is missing; take the file that belongs to the weights');
    const rope = (on: boolean) =>
      readRope(r, {
        headSize: sizes[sliding.indexOf(on)] ?? base.headSize,
        maxSeq: base.contextLength,
        layerType: on ? 'sliding_attention' : 'full_attention',
        theta: on ? 1e4 : 1e6,
        proportional: true,
      });
    const unified = r.string('model_type') === 'gemma4_unified_text';
    const size = r.int('hidden_size_per_layer_input', unified ? 0 : 256, 0);
    const rows = r.int('vocab_size_per_layer_input', base.vocabSize);
    if (size > 0 && rows < base.vocabSize)
      r.fail('vocab_size_per_layer_input', `is ${rows}, less than the vocabulary of ${base.vocabSize}`);
    const double = r.bool('use_double_wide_mlp', false);
    const layer = ({ mixer, mlp, ...spec }: LayerSpec, l: number): LayerSpec => {
      const global = !sliding[l] && same ? globalGroups : null;
      const attention: AttentionSpec = {
        ...(mixer as AttentionSpec),
        keySize: sizes[l],
        valueSize: sizes[l],
        groups: ofLayer(r, l, 'num_key_value_heads') ?? global ?? base.nQueryGroups,
      };
      const shares = from[l] !== l;
      const size = mlp?.kind === 'gated' ? (shares && double ? 2 : 1) * mlp.size : 0;
      return {
        ...spec,
        mixer: shares
          ? { ...attention, kind: 'shared-attention', source: from[l] }
          : { ...attention, kind: 'self-attention', valueNorm: norm, valuesAreKeys: same && !sliding[l] },
        mlp: moe ? { ...moe, shared: { size, gate: false, norms: norm } } : { ...(mlp as GatedMlp), size },
        outScale: true,
      };
    };
    for (const l of range(nLayer)) for (const key of ['head_dim', 'num_key_value_heads']) ofLayer(r, l, key);
    return {
      ...base,
      ...qkNorm(base, 'head'),
      ...window(base, r.int('sliding_window', unified ? 1024 : 512), (l) => sliding[l]),
      position: 'rope',
      ropes: [rope(false), rope(true)],
      ropeIndices: sliding.map((on) => (on ? 1 : 0)),
      embedScale: Math.sqrt(base.nEmbd),
      attentionScale: 1,
      postAttentionNorm: true,
      postMlpNorm: true,
      finalLogitSoftcapping: r.positiveOrNull('final_logit_softcapping'),
      ...(size > 0 ? { perLayerInput: { rows, size } } : {}),
      layer,
    };
  },
  tensors: GEMMA4_TENSORS,
  ignore: [ignoreSharedKeys],
};
