/**
 * @file OpenAI's gpt-oss: attention sinks, windows on every other layer, experts with biases and a clamped gate.
 * Reference: transformers models/gpt_oss.
 */
import type { TensorExpr } from '../../weights/tensor-map.ts';
import { type Family, llamaTensors } from '../family.ts';
import { byTurns, expertCount, mixture, router } from '../mixture.ts';
import { attnBias, readBase, slidingLayers, window, withAttention } from '../read-base.ts';

/** swiglu_limit, where the file is silent. */
const LIMIT = 7;
const EXPERTS_PER_TOKEN = ['num_experts_per_tok', 'experts_per_token'];
const experts = 'model.layers.{l}.mlp.experts';
/** Columns are gate and up by turns. */
const gateUp = (segment: number): TensorExpr => ({
  segment,
  of: byTurns,
  from: { transposed: { nthOf: 'experts', from: { bare: `${experts}.gate_up_proj` } } },
});
const gateUpBias = (segment: number): TensorExpr => ({
  segment,
  of: byTurns,
  from: { nthOf: 'experts', from: { bare: `${experts}.gate_up_proj_bias` } },
});

export const gptOss: Family = {
  modelTypes: ['gpt_oss'],
  config: (r) => {
    const rope = { theta: 150_000, fractionKeys: null };
    const base = readBase(r, { headSize: 64, normEps: 1e-5, nQueryGroups: 8, rope });
    const sliding = slidingLayers(r, base.nLayer, (l) => l % 2 === 0);
    const { count, perToken } = expertCount(r, 'num_local_experts', EXPERTS_PER_TOKEN, [128, 4]);
    const bias = r.bool('attention_bias', true);
    const mlp = mixture(base, {
      router: router(perToken, { score: 'softmax-chosen', bias: true }),
      experts: { count, size: base.intermediateSize, bias: true, clamp: r.positive('swiglu_limit', LIMIT) },
    });
    r.refuse('swiglu_alpha', 'only 1.702 is supported', [1.702]);
    r.int('initial_context_length', 4096); // stated by rope_parameters, too
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...window(base, r.int('sliding_window', 128), (l) => sliding[l]),
      layer: (layer) => withAttention({ ...layer, mlp }, { sinks: true }),
    };
  },
  tensors: llamaTensors({
    'h.{l}.attn.sinks': { bare: 'model.layers.{l}.self_attn.sinks' },
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.router',
    // Files of GGUF have tensors for each expert.
    'h.{l}.mlp.experts.{e}.fc_1.weight': { oneOf: [`${experts}.{e}.gate_proj`, gateUp(0)] },
    'h.{l}.mlp.experts.{e}.fc_2.weight': { oneOf: [`${experts}.{e}.up_proj`, gateUp(1)] },
    'h.{l}.mlp.experts.{e}.fc_1.bias': { oneOf: [`${experts}.{e}.gate_proj`, gateUpBias(0)] },
    'h.{l}.mlp.experts.{e}.fc_2.bias': { oneOf: [`${experts}.{e}.up_proj`, gateUpBias(1)] },
    'h.{l}.mlp.experts.{e}.proj.weight': {
      oneOf: [`${experts}.{e}.down_proj`, { transposed: { nthOf: 'experts', from: { bare: `${experts}.down_proj` } } }],
    },
    'h.{l}.mlp.experts.{e}.proj.bias': {
      oneOf: [`${experts}.{e}.down_proj`, { nthOf: 'experts', from: { bare: `${experts}.down_proj_bias` } }],
    },
  }),
};
