/**
 * @file RecurrentGemma (Griffin, arXiv 2402.19427): recurrent blocks, and between them attention with a short window.
 */
import { roundToBfloat16 } from '../../util/half.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { AttentionKind } from '../layers.ts';
import { attnBias, readBase, window } from '../read-base.ts';

/** Its state forgets, and its window is short: sequences have no end. This is what it was trained on. */
const TRAINED_LENGTH = 8192;

const layer = 'model.layers.{l}.temporal_block';

export const recurrentGemma: Family = {
  modelTypes: ['recurrent_gemma'],
  config: (r) => {
    const base = readBase(r, {
      norm: { unitOffset: true },
      tie: true,
      activation: 'gelu_pytorch_tanh',
      keys: { activation: ['hidden_activation'], contextLength: [] },
      rope: { fraction: 0.5 },
    });
    if (base.intermediateSize % 2 !== 0)
      r.fail('intermediate_size', `is ${base.intermediateSize}, but counts gate and up together`);
    const width = r.int('lru_width', base.nEmbd);
    if (width % base.nHead !== 0)
      r.fail('lru_width', `is ${width}, which does not divide into ${base.nHead} heads' gates`);
    const types = r.strings(['block_types', '_block_types']) ?? ['recurrent', 'recurrent', 'attention'];
    const known: Readonly<Record<string, AttentionKind>> = { recurrent: 'recurrent', attention: 'self' };
    const attentionKind = base.attentionKind.map((_, l) => {
      const type = types[l % types.length];
      return Object.hasOwn(known, type ?? '')
        ? known[type]
        : r.fail('block_types', `names "${type}"; known are ${Object.keys(known).join(', ')}`);
    });
    if (!attentionKind.includes('self')) r.fail('block_types', 'gives the model no layer that attends');
    const convWidth = r.int('conv1d_width', 4, 2, 64);
    r.refuse('embeddings_scale_by_sqrt_dim', "the model's own code always does", [true]);
    r.skip('w_init_variance_scale', 'final_w_init_variance_scale');
    const attends = (l: number) => attentionKind[l] === 'self';
    return {
      ...base,
      ...attnBias(base, r.bool('attention_bias', false), true),
      ...window(base, r.int('attention_window_size', 2048), attends),
      contextLength: TRAINED_LENGTH,
      attentionKind,
      recurrent: attentionKind.includes('recurrent') ? { width, convWidth, blocks: base.nHead } : null,
      ropeIndices: base.ropeIndices.map((index, l) => (attends(l) ? index : -1)),
      embedScale: roundToBfloat16(Math.sqrt(base.nEmbd)),
      finalLogitSoftcapping: r.positive('logits_soft_cap', 30),
      intermediateSize: base.intermediateSize / 2,
      mlpBias: true,
    };
  },
  tensors: llamaTensors({
    'h.{l}.norm_1': 'model.layers.{l}.temporal_pre_norm',
    'h.{l}.norm_2': 'model.layers.{l}.channel_pre_norm',
    'h.{l}.attn.q': `${layer}.q_proj`,
    'h.{l}.attn.k': `${layer}.k_proj`,
    'h.{l}.attn.v': `${layer}.v_proj`,
    'h.{l}.attn.proj': `${layer}.o_proj`,
    'h.{l}.rec.x': `${layer}.linear_x`,
    'h.{l}.rec.y': `${layer}.linear_y`,
    'h.{l}.rec.out': `${layer}.linear_out`,
    'h.{l}.rec.conv': { transposed: `${layer}.conv_1d` },
    'h.{l}.rec.i.weight': { bare: `${layer}.rg_lru.input_gate_weight` },
    'h.{l}.rec.i.bias': { bare: `${layer}.rg_lru.input_gate_bias` },
    'h.{l}.rec.r.weight': { bare: `${layer}.rg_lru.recurrent_gate_weight` },
    'h.{l}.rec.r.bias': { bare: `${layer}.rg_lru.recurrent_gate_bias` },
    'h.{l}.rec.lambda': { bare: `${layer}.rg_lru.recurrent_param` },
    'h.{l}.mlp.fc_1': 'model.layers.{l}.mlp_block.gate_proj',
    'h.{l}.mlp.fc_2': 'model.layers.{l}.mlp_block.up_proj',
    'h.{l}.mlp.proj': 'model.layers.{l}.mlp_block.down_proj',
    ln_f: 'model.final_norm',
  }),
};
