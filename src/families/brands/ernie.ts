/**
 * @file Baidu's ERNIE 4.5: Llama with interleaved rotation, and mixtures whose choice has a bias. Reference:
 * transformers models/ernie4_5*.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors } from '../family.ts';
import { expertCount, expertsIn, mixture, mlpOn, router, sharedTensors } from '../mixture.ts';
import { attnBias, readBase } from '../read-base.ts';

/** What the published files state besides: of training, of pictures, and of layouts that none of them has. */
function checkStated(r: ConfigReader): void {
  r.refuse('compression_ratio', 'only 1 is supported', [1]);
  r.refuse('use_rmsnorm', 'only true is supported', [true]);
  r.refuse('moe_gate', 'only "topk" is supported', ['topk']);
  r.skip('freq_allocation', 'pp_seg_method', 'weight_share_add_bias', 'num_nextn_predict_layers');
}

export const ernie45: Family = {
  modelTypes: ['ernie4_5'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      headSize: 128,
      tie: true,
      rope: { interleave: true, theta: 500_000, fractionKeys: null },
    });
    checkStated(r);
    const bias = r.bool('use_bias', false);
    return { ...base, ...attnBias(base, bias, bias), mlpBias: bias };
  },
  tensors: llamaTensors(),
};

export const ernie45Moe: Family = {
  modelTypes: ['ernie4_5_moe'],
  config: (r) => {
    const base = readBase(r, {
      normEps: 1e-5,
      tie: true,
      rope: { interleave: true, theta: 500_000, fractionKeys: null },
    });
    const bias = r.bool('use_bias', false);
    checkStated(r);
    const { count, perToken } = expertCount(r, 'moe_num_experts', 'moe_k', [64, 6]);
    const size = r.int('moe_intermediate_size', 1536);
    const shared = r.int('moe_num_shared_experts', 2, 0);
    const mlp = mixture(base, {
      router: router(perToken, { choiceBias: true, normP: 1, normMin: r.positive('moe_norm_min', 1e-12) }),
      experts: { count, size, bias },
      shared: shared > 0 ? { size: size * shared, gate: false } : null,
    });
    const start = r.int('moe_layer_start_index', 1, 0);
    const end = r.int('moe_layer_end_index', -1, -1);
    const interval = r.int('moe_layer_interval', 1);
    const last = end === -1 ? base.nLayer - 1 : end;
    r.skip('moe_capacity', 'moe_use_aux_free'); // of training
    return {
      ...base,
      ...attnBias(base, bias, bias),
      mlpBias: bias,
      layer: mlpOn(mlp, (l) => (l + 1) % interval === 0 && l >= start && l <= last),
    };
  },
  tensors: llamaTensors({
    'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate',
    'h.{l}.mlp.choice_bias': { bare: 'model.layers.{l}.mlp.moe_statics.e_score_correction_bias' },
    ...expertsIn('model.layers.{l}.mlp.experts'),
    ...sharedTensors('model.layers.{l}.mlp.shared_experts'),
  }),
  ignore: [/^model\.mtp_/],
};
