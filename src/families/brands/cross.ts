/**
 * @file Decoders with layers that attend to an image's states: mllama (Llama 3.2 Vision) and idefics. The states come
 * from the caller; what makes them of an image is not part of the decoder.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import type { TensorMap } from '../../weights/tensor-map.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { AttentionKind, FamilyConfig } from '../layers.ts';
import { readBase } from '../read-base.ts';

/** Layers on which `on` holds attend to given states, and rotate nothing. */
function crossLayers(
  base: FamilyConfig,
  on: (layer: number) => boolean,
): Pick<FamilyConfig, 'attentionKind' | 'ropeIndices'> {
  return {
    attentionKind: range(base.nLayer).map((l): AttentionKind => (on(l) ? 'cross' : 'self')),
    ropeIndices: range(base.nLayer).map((l) => (on(l) ? -1 : 0)),
  };
}

/** Norms and MLP of such a layer under a prefix. */
function crossTensors(layer: string): TensorMap {
  return {
    'h.{l}.cross.norm_1': `${layer}.input_layernorm`,
    'h.{l}.cross.norm_2': `${layer}.post_attention_layernorm`,
    'h.{l}.cross.q': `${layer}.cross_attn.q_proj`,
    'h.{l}.cross.k': `${layer}.cross_attn.k_proj`,
    'h.{l}.cross.v': `${layer}.cross_attn.v_proj`,
    'h.{l}.cross.proj': `${layer}.cross_attn.o_proj`,
    'h.{l}.cross.mlp.fc_1': `${layer}.mlp.gate_proj`,
    'h.{l}.cross.mlp.fc_2': `${layer}.mlp.up_proj`,
    'h.{l}.cross.mlp.proj': `${layer}.mlp.down_proj`,
  };
}

export const mllama: Family = {
  modelTypes: ['mllama_text_model'],
  config: (r) => {
    const base = readBase(r, {
      keys: { activation: ['hidden_act', 'hidden_activation'] },
      normEps: 1e-5,
      rope: { theta: 500_000, fractionKeys: null },
    });
    const cross = layerList(r, 'cross_attention_layers', base.nLayer, [3, 8, 13, 18, 23, 28, 33, 38]);
    return {
      ...base,
      ...crossLayers(base, (l) => cross.includes(l)),
      cross: cross.length === 0 ? null : { width: base.nEmbd, normQk: base.norm, gate: 'number', blind: 'mlp' },
      // Eight more for the image and what goes with it, which are never predicted.
      embedRows: base.vocabSize + 8,
    };
  },
  tensors: llamaTensors({
    ...crossTensors('model.layers.{l}'),
    'h.{l}.cross.norm_q': 'model.layers.{l}.cross_attn.q_norm',
    'h.{l}.cross.norm_k': 'model.layers.{l}.cross_attn.k_norm',
    'h.{l}.cross.gate_attn': { bare: 'model.layers.{l}.cross_attn_attn_gate' },
    'h.{l}.cross.gate_mlp': { bare: 'model.layers.{l}.cross_attn_mlp_gate' },
  }),
};

/** A list of layers that there are. */
function layerList(r: ConfigReader, key: string, nLayer: number, fallback: number[]): number[] {
  if (!r.has(key)) return fallback.filter((l) => l < nLayer);
  const list = r.numbers(key);
  const wrong = list.find((l) => !Number.isInteger(l) || l < 0 || l >= nLayer);
  if (wrong !== undefined) r.fail(key, `names layer ${wrong}, but there are ${nLayer}`);
  return list;
}

const gated = 'model.gated_cross_attn_layers.{l}';

export const idefics: Family = {
  modelTypes: ['idefics'],
  config: (r) => {
    const base = readBase(r, { keys: { nQueryGroups: null }, rope: { fractionKeys: null } });
    const interval = r.int('cross_layer_interval', 1);
    if (base.nLayer % interval !== 0)
      r.fail('cross_layer_interval', `is ${interval}, which does not divide the ${base.nLayer} layers`);
    const rows = base.vocabSize + r.int('additional_vocab_size', 0, 0);
    const vision = r.object('vision_config');
    const width = vision?.int(['embed_dim', 'hidden_size'], 768) ?? 768;
    vision?.skipRest();
    r.skip('perceiver_config', 'use_resampler'); // what makes the states
    // Stated by the published files, and not used by the model's own code.
    r.refuse('cross_layer_activation_function', 'only "swiglu" is supported', ['swiglu']);
    r.skip('ffn_dim', 'word_embed_proj_dim');
    r.skip('freeze_text_layers', 'freeze_text_module_exceptions', 'freeze_lm_head', 'freeze_vision_layers');
    r.skip('freeze_vision_module_exceptions', 'alpha_initializer', 'alphas_initializer_range'); // training
    // Before every so many of the decoder's layers comes one that attends to the image; both kinds are counted by
    // themselves.
    const stride = interval + 1;
    const all = base.nLayer + base.nLayer / interval;
    const isCross = (l: number) => l % stride === 0;
    const grown = growTo(base, all);
    return {
      ...grown,
      ...crossLayers(grown, isCross),
      layerNumbers: range(all).map((l) => (isCross(l) ? l / stride : l - Math.floor(l / stride) - 1)),
      cross: {
        width,
        normQk: r.bool('qk_layer_norms', false) ? base.norm : null,
        gate: r.choice('alpha_type', { float: 'number', vector: 'vector' } as const, 'float'),
        blind: 'attention',
      },
      embedRows: rows,
      vocabSize: rows,
    };
  },
  tensors: llamaTensors({
    ...crossTensors(gated),
    wte: { stacked: ['model.embed_tokens', 'model.embed_tokens.additional_embedding'] },
    lm_head: { stacked: ['lm_head', 'lm_head.additional_fc'] },
    'h.{l}.cross.norm_q': `${gated}.cross_attn.q_layer_norm`,
    'h.{l}.cross.norm_k': `${gated}.cross_attn.k_layer_norm`,
    'h.{l}.cross.gate_attn': { bare: `${gated}.alpha_cross_attn` },
    'h.{l}.cross.gate_mlp': { bare: `${gated}.alpha_dense` },
  }),
  ignore: [/^model\.(vision_model|perceiver_resampler)\./],
};

/** The same model with more layers, all of one kind. */
function growTo(base: FamilyConfig, nLayer: number): FamilyConfig {
  const fill = <T>([first]: readonly T[]): T[] => new Array<T>(nLayer).fill(first);
  return {
    ...base,
    nLayer,
    attnBias: { ...base.attnBias, proj: fill(base.attnBias.proj) },
    slidingWindowIndices: fill(base.slidingWindowIndices),
    mlpKind: fill(base.mlpKind),
  };
}
