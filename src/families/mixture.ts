/**
 * @file Mixtures of experts: routers and experts by the names that several families share.
 */
import type { LayerSpec } from '../config/layer-spec.ts';
import type { MlpSpec, MoeMlp, RouterSpec } from '../config/mlp-spec.ts';
import type { ConfigReader } from '../config/reader.ts';
import type { SegmentsOf, TensorExpr, TensorMap } from '../weights/tensor-map.ts';
import { expertTensors } from './family.ts';
import type { FamilyConfig } from './layers.ts';

/** No layer has more experts. */
export const MAX_EXPERTS = 4096;

/** A router: softmax over all experts, the weights of those chosen as they are. */
export function router(perToken: number, own: Partial<RouterSpec> = {}): RouterSpec {
  return {
    score: 'softmax',
    bias: false,
    choiceBias: false,
    groups: null,
    normP: null,
    normEps: 0,
    normMin: 0,
    scale: 1,
    jitter: 0,
    ...own,
    perToken,
  };
}

/** What is not stated of a mixture: gated experts without biases, the family's activation, no shared MLP. */
export function mixture(
  base: FamilyConfig,
  own: Pick<MoeMlp, 'router'> & {
    readonly experts: Pick<MoeMlp['experts'], 'count' | 'size'> & Partial<MoeMlp['experts']>;
    readonly shared?: MoeMlp['shared'];
  },
): MoeMlp {
  const experts = {
    bias: false,
    activation: base.activation,
    gated: true,
    clamp: null,
    scaledInput: false,
    latent: null,
  };
  return {
    kind: 'moe',
    outputBias: false,
    shared: null,
    ...own,
    experts: { ...experts, ...own.experts },
  };
}

/** An MLP of its own for the layers on which `on` holds. */
export function mlpOn(mlp: MlpSpec, on: (layer: number) => boolean = () => true) {
  return (layer: LayerSpec, l: number): LayerSpec => (on(l) ? { ...layer, mlp } : layer);
}

/** How many experts there are, and how many of them a token has. */
export function expertCount(
  r: ConfigReader,
  total: string | readonly string[],
  perToken: string | readonly string[],
  fallback: readonly [total: number, perToken: number],
): { count: number; perToken: number } {
  const count = r.int(total, fallback[0], 1, MAX_EXPERTS);
  return { count, perToken: r.int(perToken, fallback[1], 1, count) };
}

/**
 * Experts with DeepSeek's names: `n_routed_experts`, `n_shared_experts`, groups, `routed_scaling_factor`.
 * @param score `sigmoid` with a bias for the choice (DeepSeek-V3, arXiv 2412.19437), or DeepSeek-V2's softmax
 * (arXiv 2405.04434).
 */
export function deepseekMixture(
  r: ConfigReader,
  base: FamilyConfig,
  score: 'sigmoid' | 'softmax',
): Pick<FamilyConfig, 'layer'> {
  const { count, perToken } = expertCount(r, 'n_routed_experts', 'num_experts_per_tok', [256, 8]);
  const size = r.int('moe_intermediate_size', base.intermediateSize);
  const sharedCount = r.int('n_shared_experts', 0, 0, MAX_EXPERTS);
  const norm = r.bool('norm_topk_prob', score === 'sigmoid');
  // norm_topk_prob of deepseek_v2 is read by no code
  const own =
    score === 'sigmoid' ? { score, choiceBias: true, normP: norm ? 1 : null, normEps: 1e-20 } : { score, normP: null };
  const mlp = mixture(base, {
    router: router(perToken, {
      ...own,
      groups: expertGroups(r, count, score),
      scale: r.positive('routed_scaling_factor', 1),
    }),
    experts: { count, size },
    shared: sharedCount > 0 ? { size: size * sharedCount, gate: false } : null,
  });
  // dots.llm1 states the method for the score.
  const scores = score === 'sigmoid' ? [score, 'noaux_tc'] : [score];
  r.refuse('scoring_func', `only "${score}" is supported in this family`, scores);
  r.refuse('ep_size', 'only 1 is supported', [1]);
  r.float('aux_loss_alpha', 0); // of training
  r.skip('seq_aux', 'moe_layer_freq', 'num_nextn_predict_layers', 'num_mtp_layers');
  const sparse = sparseLayers(r, base.nLayer);
  return { layer: mlpOn(mlp, (l) => sparse[l]) };
}

/** Groups of experts; null where there is one group, or the choice does not look at them. */
function expertGroups(r: ConfigReader, experts: number, score: 'sigmoid' | 'softmax'): RouterSpec['groups'] {
  const count = r.intOrNull('n_group') ?? 1;
  const perToken = r.intOrNull('topk_group') ?? count;
  const methods = score === 'sigmoid' ? { noaux_tc: true } : { greedy: false, group_limited_greedy: true };
  const limited = r.has('topk_method')
    ? r.choice(
        'topk_method',
        Object.fromEntries(Object.entries(methods).map(([key, on]) => [key, on ? 'yes' : 'no'])),
      ) === 'yes'
    : score === 'sigmoid';
  if (experts % count !== 0) r.fail('n_group', `is ${count}, which does not divide the ${experts} experts`);
  if (perToken > count) r.fail('topk_group', `is ${perToken}, but there are ${count} groups`);
  if (!limited || count === 1 || perToken === count) return null;
  return { count, perToken, by: score === 'sigmoid' ? 'top-2' : 'max' };
}

/** `mlp_layer_types`, else all layers but the first `first_k_dense_replace`. */
function sparseLayers(r: ConfigReader, nLayer: number): boolean[] {
  const first = r.int('first_k_dense_replace', 0, 0);
  const types = r.strings('mlp_layer_types', nLayer);
  return Array.from({ length: nLayer }, (_, l) => {
    const type = types?.[l] ?? (l < first ? 'dense' : 'sparse');
    if (type !== 'dense' && type !== 'sparse') r.fail('mlp_layer_types', `names "${type}"; known are dense and sparse`);
    return type === 'sparse';
  });
}

/**
 * Experts of a module, each a module of its own, or all of them in one tensor each way: [gate; up] rows, as
 * transformers 5 saves them.
 */
export function expertsIn(module: string): TensorMap {
  const fused = (part: number): TensorExpr => ({
    part,
    parts: 2,
    from: { nthOf: 'experts', from: { bare: `${module}.gate_up_proj` } },
  });
  return expertTensors(
    { oneOf: [`${module}.{e}.gate_proj`, fused(0)] },
    { oneOf: [`${module}.{e}.up_proj`, fused(1)] },
    { oneOf: [`${module}.{e}.down_proj`, { nthOf: 'experts', from: { bare: `${module}.down_proj` } }] },
  );
}

/**
 * All experts in one tensor each way, stored as [in, out]: columns [gate | up]; with `eitherWay` also as [out, in].
 * Files of GGUF have tensors for each expert.
 */
export function transposedExpertsIn(module: string, eitherWay = false): TensorMap {
  const whole = (name: string): TensorExpr => {
    const all: TensorExpr = { nthOf: 'experts', from: { bare: `${module}.${name}` } };
    return eitherWay ? { eitherWay: all } : { transposed: all };
  };
  const half = (part: number): TensorExpr => ({ part, parts: 2, from: whole('gate_up_proj') });
  return expertTensors(
    { oneOf: [`${module}.{e}.gate_proj`, half(0)] },
    { oneOf: [`${module}.{e}.up_proj`, half(1)] },
    { oneOf: [`${module}.{e}.down_proj`, whole('down_proj')] },
  );
}

/** A gated MLP that every token goes through besides. */
export function sharedTensors(module: string): TensorMap {
  return {
    'h.{l}.mlp.shared.fc_1': `${module}.gate_proj`,
    'h.{l}.mlp.shared.fc_2': `${module}.up_proj`,
    'h.{l}.mlp.shared.proj': `${module}.down_proj`,
  };
}

/** Router and experts as DeepSeek names them. */
export const DEEPSEEK_EXPERTS: TensorMap = {
  'h.{l}.mlp.gate': 'model.layers.{l}.mlp.gate',
  'h.{l}.mlp.choice_bias': { bare: 'model.layers.{l}.mlp.gate.e_score_correction_bias' },
  ...expertsIn('model.layers.{l}.mlp.experts'),
  ...sharedTensors('model.layers.{l}.mlp.shared_experts'),
};

/** Rows that take turns: gate, up, gate, up, … */
export const byTurns: SegmentsOf = ({ mlp }) => ({ count: mlp?.kind === 'moe' ? mlp.experts.size : 1, sizes: [1, 1] });

/** Layers behind the last one predict further tokens (MTP), which no forward pass of the model reads. */
export const ignoreLayersBehind = (name: string, { nLayer }: { readonly nLayer: number }): boolean => {
  const layer = /(?:^|\.)layers\.(\d+)\./.exec(name);
  return /^(model\.)?mtp\./.test(name) || (layer !== null && Number(layer[1]) >= nLayer);
};
