/**
 * @file Llama 4: attention in chunks with rotation, every fourth layer full and without; experts beside a shared one.
 */
import { range } from '../../../util/numbers.ts';
import { type Architecture, LLAMA_NAMES } from '../architecture.ts';
import { llamaConfig } from './llama.ts';
import { expertSizes, experts } from './moe.ts';

const FF = 'model.layers.{l}.feed_forward';
/** Models of so many experts (Maverick) have no norms of queries and keys; files do not say so. */
const UNNORMED_EXPERTS = 128;
/** Tokens of a chunk, and of a step of the temperature: llama.cpp has both in its code. */
const USUAL_CHUNK = 8192;

export const llama4: Architecture = {
  names: ['llama4'],
  async config(model) {
    const { own, nLayer, has } = model;
    const { intermediate_size, ...base } = await llamaConfig(model);
    // A file without windows says 0.
    const chunk = own.int('attention.sliding_window', USUAL_CHUNK) || null;
    return {
      ...base,
      ...expertSizes(model, 'num_local_experts'),
      model_type: 'llama4_text',
      intermediate_size: own.int('expert_feed_forward_length', undefined, 1),
      intermediate_size_mlp: intermediate_size,
      attention_chunk_size: chunk,
      no_rope_layers: range(nLayer).map((l) => ((l + 1) % 4 === 0 ? 0 : 1)),
      attn_scale: own.float('attention.temperature_scale', 0.1),
      floor_scale: own.int('attention.temperature_length', USUAL_CHUNK, 1),
      moe_layers: range(nLayer).filter((l) => has(`blk.${l}.ffn_gate_inp.weight`)),
      use_qk_norm: own.int('expert_count') !== UNNORMED_EXPERTS,
    };
  },
  tensors: {
    ...LLAMA_NAMES,
    'blk.{l}.ffn_gate': `${FF}.gate_proj`,
    'blk.{l}.ffn_up': `${FF}.up_proj`,
    'blk.{l}.ffn_down': `${FF}.down_proj`,
    ...experts({
      router: `${FF}.router`,
      gate: `${FF}.experts.{e}.gate_proj`,
      up: `${FF}.experts.{e}.up_proj`,
      down: `${FF}.experts.{e}.down_proj`,
    }),
    'blk.{l}.ffn_gate_shexp': `${FF}.shared_expert.gate_proj`,
    'blk.{l}.ffn_up_shexp': `${FF}.shared_expert.up_proj`,
    'blk.{l}.ffn_down_shexp': `${FF}.shared_expert.down_proj`,
  },
  ignore: [/^rope_freqs\.weight$/],
};
