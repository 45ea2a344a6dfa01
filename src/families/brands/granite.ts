/**
 * @file IBM's Granite: Llama with multipliers; granitemoe; granitemoehybrid (Granite 4), whose layers are Mamba-2 or
 * attention. Reference: transformers models/granite, granitemoe, granitemoehybrid.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import { type Family, fusedGateUp, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { expertCount, mixture, router } from '../mixture.ts';
import { localExperts, moeLayers, stackedExperts } from '../moe.ts';
import { attnBias, type BaseDefaults, readBase, ropeOn } from '../read-base.ts';
import { MAMBA_KEYS, mamba2Mixer, ssmTensors } from './mamba.ts';

function graniteConfig(r: ConfigReader, own: BaseDefaults = {}): FamilyConfig {
  const base = readBase(r, { rope: { fractionKeys: null }, ...own });
  const bias = r.bool('attention_bias', false);
  return {
    ...base,
    ...attnBias(base, bias, bias),
    mlpBias: r.bool('mlp_bias', false),
    embedScale: r.positive('embedding_multiplier', 1),
    residualMultiplier: r.positive('residual_multiplier', 1),
    attentionScale: r.positive('attention_multiplier', 1),
    logitScale: 1 / r.positive('logits_scaling', 1),
  };
}

function rotatingConfig(r: ConfigReader): FamilyConfig {
  if (r.string('position_embedding_type', 'rope') !== 'rope')
    r.fail('position_embedding_type', 'must be "rope" in this family');
  return graniteConfig(r);
}

export const granite: Family = {
  modelTypes: ['granite'],
  config: rotatingConfig,
  tensors: llamaTensors(),
};

export const graniteMoe: Family = {
  modelTypes: ['granitemoe'],
  config: (r) => {
    const base = rotatingConfig(r);
    return { ...base, ...moeLayers(base, localExperts(r, 8)) };
  },
  tensors: llamaTensors(stackedExperts('model.layers.{l}.block_sparse_moe')),
};

const sharedMlp = (at: string) => ({
  ...fusedGateUp('model.layers.{l}.shared_mlp.input_linear', at),
  [`${at}.proj`]: 'model.layers.{l}.shared_mlp.output_linear',
});

export const graniteHybrid: Family = {
  modelTypes: ['granitemoehybrid'],
  config: (r) => {
    const width = r.int('intermediate_size', 1024);
    const base = graniteConfig(r, { keys: { intermediateSize: ['shared_intermediate_size'] }, rope: {} });
    const attends = attentionLayers(r, base.nLayer);
    const rotates = rotatesAtAll(r);
    r.refuse('normalization_function', 'only "rmsnorm" is supported', ['rmsnorm']);
    r.skip('time_step_min', 'time_step_max', 'time_step_floor', 'mamba_chunk_size', 'mamba_expand');
    const mixer = mamba2Mixer(r, base, MAMBA_KEYS);
    const experts =
      r.int('num_local_experts', 8, 0) > 0 ? expertCount(r, 'num_local_experts', 'num_experts_per_tok', [8, 2]) : null;
    if (!experts) r.skip('num_experts_per_tok');
    const mlp =
      experts &&
      mixture(base, {
        router: router(experts.perToken, { score: 'softmax-chosen' }),
        experts: { count: experts.count, size: width },
        shared: { size: base.intermediateSize, gate: false },
      });
    return {
      ...base,
      ...(rotates ? ropeOn(base, (l) => attends[l]) : { ...ropeOn(base, () => false), position: 'none', ropes: [] }),
      layer: (layer, l) => ({ ...layer, mixer: attends[l] ? layer.mixer : mixer, mlp: mlp ?? layer.mlp }),
    };
  },
  tensors: llamaTensors({
    ...sharedMlp('h.{l}.mlp'),
    ...sharedMlp('h.{l}.mlp.shared'),
    ...stackedExperts('model.layers.{l}.block_sparse_moe'),
    ...ssmTensors('model.layers.{l}.mamba'),
  }),
};

function attentionLayers(r: ConfigReader, nLayer: number): boolean[] {
  const known: Readonly<Record<string, boolean>> = {
    attention: true,
    full_attention: true,
    mamba: false,
    linear_attention: false,
  };
  const types = r.strings(['layer_types', 'layers_block_type'], nLayer) ?? range(nLayer).map(() => 'mamba');
  return types.map((type) =>
    Object.hasOwn(known, type)
      ? known[type]
      : r.fail('layer_types', `names "${type}"; known are ${Object.keys(known).join(', ')}`),
  );
}

/** Whether there is a position at all: null and "nope" say no. */
function rotatesAtAll(r: ConfigReader): boolean {
  const stated = r.isNull('position_embedding_type') ? 'nope' : r.string('position_embedding_type', 'nope');
  if (stated !== 'rope' && stated !== 'nope')
    r.fail('position_embedding_type', `is "${stated}"; known are rope and nope`);
  return stated === 'rope';
}
