/**
 * @file Mixtures of experts in the words of the older families: mixtral, phimoe, qwen2_moe, qwen3_moe, granitemoe,
 * aria, dbrx, jetmoe, olmoe.
 */
import type { ConfigReader } from '../config/reader.ts';
import type { TensorMap } from '../weights/tensor-map.ts';
import { expertTensors, fusedGateUp } from './family.ts';
import type { FamilyConfig, MlpKind, MoeSpec } from './layers.ts';

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
export const SPARSE_EXPERTS: TensorMap = {
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
