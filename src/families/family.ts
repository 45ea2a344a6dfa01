/**
 * @file What a row of the family table is: which config.json it reads, and where its tensors are in a checkpoint.
 */
import { type AttentionSpec, attentionWithin, type LayerSpec } from '../config/layer-spec.ts';
import type { ConfigReader } from '../config/reader.ts';
import { ConfigError } from '../util/errors.ts';
import type { Segments, SegmentsOf, TensorExpr, TensorMap, TensorNames } from '../weights/tensor-map.ts';
import type { FamilyConfig } from './layers.ts';

/** The head of encoders that were trained to rank texts: dense(pooled state), activation, norm, then one number. */
export interface RankHeadNames {
  readonly dense: string;
  readonly activation: 'tanh' | 'relu' | 'gelu';
  readonly norm?: string;
  readonly out: string;
}

/** One family of models. */
export interface Family extends TensorNames {
  /** The values of config.json's `model_type` that it reads. */
  readonly modelTypes: readonly string[];
  readonly config: (r: ConfigReader) => FamilyConfig;
  /** Where checkpoints of rerankers hold their head. @default there are none */
  readonly rankHead?: RankHeadNames;
}

/** The module names of Llama, which most families share: pass what is called otherwise. */
export function llamaTensors(own: TensorMap = {}): TensorMap {
  return {
    wte: 'model.embed_tokens',
    'h.{l}.norm_1': 'model.layers.{l}.input_layernorm',
    'h.{l}.norm_2': 'model.layers.{l}.post_attention_layernorm',
    'h.{l}.attn.q': 'model.layers.{l}.self_attn.q_proj',
    'h.{l}.attn.k': 'model.layers.{l}.self_attn.k_proj',
    'h.{l}.attn.v': 'model.layers.{l}.self_attn.v_proj',
    'h.{l}.attn.proj': 'model.layers.{l}.self_attn.o_proj',
    'h.{l}.attn.norm_q': 'model.layers.{l}.self_attn.q_norm',
    'h.{l}.attn.norm_k': 'model.layers.{l}.self_attn.k_norm',
    'h.{l}.mlp.fc_1': 'model.layers.{l}.mlp.gate_proj',
    'h.{l}.mlp.fc_2': 'model.layers.{l}.mlp.up_proj',
    'h.{l}.mlp.proj': 'model.layers.{l}.mlp.down_proj',
    ln_f: 'model.norm',
    lm_head: 'lm_head',
    ...own,
  };
}

/** An MLP without a gate. */
export function plainMlpTensors(fc: TensorExpr, proj: TensorExpr): TensorMap {
  return { 'h.{l}.mlp.fc': fc, 'h.{l}.mlp.proj': proj };
}

/**
 * Norms, attention and MLP of a layer under the names of fairseq, which OPT, XGLM and BioGPT keep.
 * @param layer the layer's prefix.
 */
export function fairseqLayerTensors(layer: string): TensorMap {
  return {
    'h.{l}.norm_1': `${layer}.self_attn_layer_norm`,
    'h.{l}.norm_2': `${layer}.final_layer_norm`,
    'h.{l}.attn.q': `${layer}.self_attn.q_proj`,
    'h.{l}.attn.k': `${layer}.self_attn.k_proj`,
    'h.{l}.attn.v': `${layer}.self_attn.v_proj`,
    'h.{l}.attn.proj': `${layer}.self_attn.out_proj`,
    ...plainMlpTensors(`${layer}.fc1`, `${layer}.fc2`),
  };
}

/**
 * How the rows of a fused query-key-value matrix are ordered: `stacked` [Q; K; V]; `grouped`: per query group its
 * queries, its key, its value (gpt_neox, falcon, bloom); `codegen`: in four blocks of [Q; V; K], as it was trained on
 * so many TPU cores.
 */
export type QkvOrder = 'stacked' | 'grouped' | 'codegen';

const QKV: Readonly<
  Record<QkvOrder, { readonly of: SegmentsOf; readonly at: Readonly<Record<'q' | 'k' | 'v', number>> }>
> = {
  stacked: { at: { q: 0, k: 1, v: 2 }, of: (layer) => attentionSegments(layer, 1) },
  grouped: { at: { q: 0, k: 1, v: 2 }, of: (layer) => attentionSegments(layer, attentionOf(layer).groups) },
  codegen: { at: { q: 0, v: 1, k: 2 }, of: (layer) => attentionSegments(layer, 4) },
};

/** The numbers of a layer's attention. */
export function attentionOf({ mixer }: LayerSpec): AttentionSpec {
  const attention = attentionWithin(mixer);
  if (!attention) throw new ConfigError('a layer without attention has no queries, keys and values');
  return attention;
}

function attentionSegments(layer: LayerSpec, count: number): Segments {
  const { heads, groups, keySize, valueSize } = attentionOf(layer);
  return { count, sizes: [heads * keySize, groups * keySize, groups * valueSize].map((size) => size / count) };
}

/** The three parts of a fused query-key-value module. */
export function fusedQkv(from: TensorExpr, order: QkvOrder): TensorMap {
  const { of, at } = QKV[order];
  return {
    'h.{l}.attn.q': { segment: at.q, of, from },
    'h.{l}.attn.k': { segment: at.k, of, from },
    'h.{l}.attn.v': { segment: at.v, of, from },
  };
}

/** The two parts of a fused [gate; up] module, of the MLP unless `at` says of what. */
export function fusedGateUp(from: TensorExpr, at = 'h.{l}.mlp'): TensorMap {
  return {
    [`${at}.fc_1`]: { part: 0, parts: 2, from },
    [`${at}.fc_2`]: { part: 1, parts: 2, from },
  };
}

/** Experts that are modules of their own. */
export function expertTensors(gate: TensorExpr, up: TensorExpr, down: TensorExpr): TensorMap {
  return {
    'h.{l}.mlp.experts.{e}.fc_1': gate,
    'h.{l}.mlp.experts.{e}.fc_2': up,
    'h.{l}.mlp.experts.{e}.proj': down,
  };
}

/** Norms of queries and keys with a weight for each head, in one tensor. */
export function headNormTensors(q: TensorExpr, k: TensorExpr): TensorMap {
  return {
    'h.{l}.attn.norm_q.{e}': { nthOf: 'heads', from: q },
    'h.{l}.attn.norm_k.{e}': { nthOf: 'groups', from: k },
  };
}
