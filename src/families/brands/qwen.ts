/**
 * @file Alibaba's Qwen with attention alone: qwen2, qwen3, the decoders of qwen2_vl and qwen3_vl.
 * Reference: transformers models of these names.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { type Family, llamaTensors } from '../family.ts';
import type { FamilyConfig } from '../layers.ts';
import { attnBias, type BaseDefaults, qkNorm, readBase, slidingLayers, window, windowSize } from '../read-base.ts';

function qwenConfig(r: ConfigReader, own: BaseDefaults = {}): FamilyConfig {
  const base = readBase(r, { ...own, rope: { fractionKeys: null } });
  const from = r.int('max_window_layers', 28, 0);
  const sliding = slidingLayers(r, base.nLayer, (l) => l >= from);
  return { ...base, ...attnBias(base, true, false), ...window(base, qwenWindow(r), (l) => sliding[l]) };
}

/** Qwen's files state a window that only counts where another key says so, and may be 0 where it does not. */
export function qwenWindow(r: ConfigReader): number | null {
  if (r.bool('use_sliding_window', false)) return windowSize(r, 4096);
  r.intOrNull('sliding_window', 0);
  return null;
}

export const qwen2: Family = {
  modelTypes: ['qwen2'],
  config: (r) => qwenConfig(r),
  tensors: llamaTensors(),
};

export const qwen3: Family = {
  modelTypes: ['qwen3'],
  config: (r) => {
    const base = qwenConfig(r, { headSize: 128 });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...qkNorm(base, 'head') };
  },
  tensors: llamaTensors(),
};

export const qwen2Vl: Family = {
  modelTypes: ['qwen2_vl_text', 'qwen2_vl', 'qwen2_5_vl_text', 'qwen2_5_vl'],
  config: qwen2.config,
  tensors: llamaTensors(),
};

/** Qwen3-VL's decoder: the three positions of an image's tokens take frequencies by turns. */
export const qwen3Vl: Family = {
  modelTypes: ['qwen3_vl_text'],
  config: (r) => {
    const base = readBase(r, { headSize: 128, rope: { theta: 500_000, fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    return { ...base, ...attnBias(base, bias, bias), ...qkNorm(base, 'head') };
  },
  tensors: llamaTensors(),
};
