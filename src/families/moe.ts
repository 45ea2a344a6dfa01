/**
 * @file Mixtures of experts with Llama's attention: mixtral, phimoe, qwen2_moe, qwen3_moe, granitemoe, aria, dbrx, jetmoe.
 */
import type { ConfigReader } from '../config/reader.ts';
import type { TensorMap } from '../weights/tensor-map.ts';
import { expertTensors, type Family, fusedGateUp, fusedQkv, llamaTensors } from './family.ts';
import type { FamilyConfig, MlpKind, MoeSpec } from './layers.ts';
import { qwen2, qwen3, qwen3Vl, qwenWindow } from './llama.ts';
import { transposedExpertsIn } from './mixture.ts';
import { attnBias, readBase, window } from './read-base.ts';

/** Experts on the layers for which `on` holds; what is not stated is as in mixtral. */
export function moeLayers(
  config: FamilyConfig,
  own: Pick<MoeSpec, 'nExpert' | 'nExpertPerToken'> & Partial<MoeSpec>,
  on: (layer: number) => boolean = () => true,
): Pick<FamilyConfig, 'moe' | 'mlpKind'> {
  return {
    moe: {
      router: 'softmax',
      normP: 1,
      jitter: 0,
      intermediateSize: config.intermediateSize,
      sharedSize: 0,
      sharedGate: false,
      outputBias: false,
      ...own,
    },
    mlpKind: config.mlpKind.map((kind, l): MlpKind => (on(l) ? 'moe' : kind)),
  };
}

/** Router and experts as Qwen and OLMoE name them. */
export const MLP_EXPERTS: TensorMap = {
  'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate',
  ...expertTensors(
    'model.layers.{l}.mlp.experts.{e}.gate_proj',
    'model.layers.{l}.mlp.experts.{e}.up_proj',
    'model.layers.{l}.mlp.experts.{e}.down_proj',
  ),
};

/** Router and experts as Mixtral names them. */
const SPARSE_EXPERTS: TensorMap = {
  'h.{l}.mlp.gate': 'model.layers.{l}.block_sparse_moe.gate',
  ...expertTensors(
    'model.layers.{l}.block_sparse_moe.experts.{e}.w1',
    'model.layers.{l}.block_sparse_moe.experts.{e}.w3',
    'model.layers.{l}.block_sparse_moe.experts.{e}.w2',
  ),
};

/** All experts of a layer in one tensor each way, [gate; up] together. */
export function stackedExperts(module: string): TensorMap {
  return {
    'h.{l}.mlp.gate': `${module}.router.layer`,
    ...fusedGateUp({ nthOf: 'experts', from: `${module}.input_linear` }, 'h.{l}.mlp.experts.{e}'),
    'h.{l}.mlp.experts.{e}.proj': { nthOf: 'experts', from: `${module}.output_linear` },
  };
}

/** No layer has more experts. */
const MAX_EXPERTS = 4096;

/** How many experts there are, and how many of them a token may have; the defaults are the family's. */
export function expertCounts(
  r: ConfigReader,
  total: readonly [keys: string | readonly string[], fallback: number],
  perToken: readonly [key: string, fallback: number],
): Pick<MoeSpec, 'nExpert' | 'nExpertPerToken'> {
  const nExpert = r.int(total[0], total[1], 1, MAX_EXPERTS);
  return { nExpert, nExpertPerToken: r.int(perToken[0], perToken[1], 1, nExpert) };
}

export const localExperts = (r: ConfigReader, nExpert: number) =>
  expertCounts(r, ['num_local_experts', nExpert], ['num_experts_per_tok', 2]);

export const mixtral: Family = {
  modelTypes: ['mixtral'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, nQueryGroups: undefined, rope: { theta: 1e6, fractionKeys: null } });
    r.float('router_jitter_noise', 0); // noise of training
    return { ...base, ...window(base, r.intOrNull('sliding_window')), ...moeLayers(base, localExperts(r, 8)) };
  },
  tensors: llamaTensors(SPARSE_EXPERTS),
};

export const phimoe: Family = {
  modelTypes: ['phimoe'],
  config: (r) => {
    r.int('original_max_position_embeddings', 4096); // read by longrope; stated without it, too
    const base = readBase(r, {
      normEps: 1e-5,
      norm: { kind: 'layer', bias: true },
      rope: { theta: 1e6, fractionKeys: null },
    });
    const bias = r.bool('attention_bias', false);
    r.float('input_jitter_noise', 0); // noise of training
    const jitter = r.float('router_jitter_noise', 0.01, 0);
    const experts = localExperts(r, 16);
    if (experts.nExpertPerToken !== 2)
      r.fail('num_experts_per_tok', `is ${experts.nExpertPerToken}, but this family's router chooses 2`);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...window(base, r.intOrNull('sliding_window')),
      ...moeLayers(base, { ...experts, router: 'sparsemixer', normP: null, jitter }),
      lmHeadBias: r.bool('lm_head_bias', false),
    };
  },
  tensors: llamaTensors(SPARSE_EXPERTS),
};

/** What qwen2_moe and qwen3_moe add to the dense models. */
function qwenExperts(
  r: ConfigReader,
  base: FamilyConfig,
  nExpert: number,
  nExpertPerToken: number,
): Pick<FamilyConfig, 'moe' | 'mlpKind'> {
  const step = r.int('decoder_sparse_step', 1);
  const dense = r.has('mlp_only_layers') ? r.numbers('mlp_only_layers') : [];
  const spec = {
    ...expertCounts(r, [['num_experts', 'num_local_experts'], nExpert], ['num_experts_per_tok', nExpertPerToken]),
    intermediateSize: r.int('moe_intermediate_size', base.intermediateSize),
    normP: r.bool('norm_topk_prob', false) ? 1 : null,
    sharedSize: r.int('shared_expert_intermediate_size', 0, 0),
  };
  const onLayer = (l: number) => !dense.includes(l) && (l + 1) % step === 0;
  return moeLayers(base, { ...spec, sharedGate: spec.sharedSize > 0 }, onLayer);
}

export const qwen2Moe: Family = {
  modelTypes: ['qwen2_moe'],
  config: (r) => {
    const base = qwen2.config(r);
    return { ...base, ...attnBias(base, r.bool('qkv_bias', true), false), ...qwenExperts(r, base, 60, 4) };
  },
  tensors: llamaTensors({
    ...MLP_EXPERTS,
    'h.{l}.mlp.shared.fc_1': 'model.layers.{l}.mlp.shared_expert.gate_proj',
    'h.{l}.mlp.shared.fc_2': 'model.layers.{l}.mlp.shared_expert.up_proj',
    'h.{l}.mlp.shared.proj': 'model.layers.{l}.mlp.shared_expert.down_proj',
    'h.{l}.mlp.shared_gate': 'model.layers.{l}.mlp.shared_expert_gate',
  }),
};

export const qwen3Moe: Family = {
  modelTypes: ['qwen3_moe'],
  config: (r) => {
    const base = qwen3.config(r);
    // Unlike the dense models, a window is for all layers.
    return { ...base, ...window(base, qwenWindow(r)), ...qwenExperts(r, base, 128, 8) };
  },
  tensors: llamaTensors(MLP_EXPERTS),
};

/** Qwen3-VL's decoder with experts, all of them in one tensor each way. */
export const qwen3VlMoe: Family = {
  modelTypes: ['qwen3_vl_moe_text'],
  config: (r) => {
    const base = qwen3Vl.config(r);
    r.refuse('norm_topk_prob', 'only true is supported in this family', [true]);
    const experts = qwenExperts(r, base, 60, 4);
    return { ...base, ...experts, moe: { ...experts.moe!, normP: 1 } };
  },
  tensors: llamaTensors({
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate',
    // Newer versions of transformers save what they have in memory, [out, in].
    ...transposedExpertsIn('model.layers.{l}.mlp.experts', true),
  }),
};

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

export const dbrx: Family = {
  modelTypes: ['dbrx'],
  config: (r) => {
    const attn = r.object('attn_config');
    const ffn = r.object('ffn_config');
    const activation = ffn?.object('ffn_act_fn')?.string('name', 'silu') ?? 'silu';
    const hidden = ffn?.int('ffn_hidden_size', 3584) ?? 3584;
    const base = readBase(r, {
      keys: {
        nEmbd: ['d_model'],
        nLayer: ['n_layers'],
        nHead: ['n_heads'],
        nQueryGroups: null,
        contextLength: ['max_seq_len'],
        intermediateSize: null,
        activation: null,
        normEps: null,
      },
      normEps: 1e-5,
      norm: { kind: 'layer' },
      activation,
      nQueryGroups: attn?.int('kv_n_heads', 1) ?? 1,
      intermediateSize: () => hidden,
      rope: { fractionKeys: null },
    });
    r.intOrNull('num_key_value_heads'); // stated again by attn_config
    const width = ffn?.intOrNull('hidden_size') ?? base.nEmbd; // likewise
    if (width !== base.nEmbd) ffn?.fail('hidden_size', `is ${width}, but d_model is ${base.nEmbd}`);
    // Settings of any config, which mean nothing in a part of one.
    for (const part of [attn, ffn]) part?.skip('tie_word_embeddings', 'return_dict');
    ffn?.float('moe_jitter_eps', 0); // noise of training
    ffn?.float('moe_loss_weight', 0);
    if (base.tieEmbeddings) r.fail('tie_word_embeddings', 'is true, which this family does not have');
    // Newer files may state another base besides, which is a default and not the model's.
    const theta = attn?.positiveOrNull('rope_theta');
    return {
      ...base,
      ropes: base.ropes.map((rope) => (theta ? { ...rope, base: theta } : rope)),
      clipQkv: attn?.positiveOrNull('clip_qkv') ?? null,
      ...moeLayers(base, {
        ...(ffn ? expertCounts(ffn, ['moe_num_experts', 4], ['moe_top_k', 1]) : { nExpert: 4, nExpertPerToken: 1 }),
        normP: ffn?.isNull('moe_normalize_expert_weights')
          ? null
          : (ffn?.positive('moe_normalize_expert_weights', 1) ?? 1),
      }),
    };
  },
  tensors: {
    wte: 'transformer.wte',
    'h.{l}.norm_1': 'transformer.blocks.{l}.norm_attn_norm.norm_1',
    'h.{l}.norm_2': 'transformer.blocks.{l}.norm_attn_norm.norm_2',
    ...fusedQkv('transformer.blocks.{l}.norm_attn_norm.attn.Wqkv', 'stacked'),
    'h.{l}.attn.proj': 'transformer.blocks.{l}.norm_attn_norm.attn.out_proj',
    'h.{l}.mlp.gate': 'transformer.blocks.{l}.ffn.router.layer',
    ...expertTensors(
      { nthOf: 'experts', from: { bare: 'transformer.blocks.{l}.ffn.experts.mlp.w1' } },
      { nthOf: 'experts', from: { bare: 'transformer.blocks.{l}.ffn.experts.mlp.v1' } },
      { transposed: { nthOf: 'experts', from: { bare: 'transformer.blocks.{l}.ffn.experts.mlp.w2' } } },
    ),
    ln_f: 'transformer.norm_f',
    lm_head: 'lm_head',
  },
};

export const jetmoe: Family = {
  modelTypes: ['jetmoe'],
  config: (r) => {
    r.float('aux_loss_coef', 0); // of training
    const experts = localExperts(r, 8);
    const groups = r.int('num_key_value_heads', 16);
    const heads = groups * experts.nExpertPerToken;
    if (r.has('num_attention_heads') && r.int('num_attention_heads') !== heads)
      r.fail(
        'num_attention_heads',
        `is ${r.int('num_attention_heads')}, but ${experts.nExpertPerToken} experts a token with ${groups} heads each make ${heads}`,
      );
    const base = readBase(r, {
      keys: { headSize: ['kv_channels', 'head_dim'], activation: ['activation_function'] },
      nHead: heads,
      headSize: 128,
      nQueryGroups: groups,
      tie: true,
      rope: { fractionKeys: null },
    });
    return {
      ...base,
      // The blocks' norms have an epsilon of their own that no config states.
      norm: { ...base.norm, eps: 1e-6 },
      attentionKind: base.attentionKind.map(() => 'experts' as const),
      ...attnBias(base, false, true),
      ...moeLayers(base, { ...experts, outputBias: true }),
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.gate': 'model.layers.{l}.self_attention.experts.router.layer',
    'h.{l}.attn.experts.{e}.q': { nthOf: 'experts', from: 'model.layers.{l}.self_attention.experts.input_linear' },
    'h.{l}.attn.experts.{e}.proj': { nthOf: 'experts', from: 'model.layers.{l}.self_attention.experts.output_linear' },
    'h.{l}.attn.k': { part: 0, parts: 2, from: 'model.layers.{l}.self_attention.kv_proj' },
    'h.{l}.attn.v': { part: 1, parts: 2, from: 'model.layers.{l}.self_attention.kv_proj' },
    'h.{l}.attn.proj.bias': { bare: 'model.layers.{l}.self_attention.experts.bias' },
    ...stackedExperts('model.layers.{l}.mlp'),
    'h.{l}.mlp.bias': { bare: 'model.layers.{l}.mlp.bias' },
  }),
};
