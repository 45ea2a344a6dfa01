/**
 * @file rednote's dots.llm1: Qwen 3's attention, DeepSeek-V3's experts. Reference: transformers models/dots1,
 * arXiv 2506.05767.
 */
import { type Family, llamaTensors } from '../family.ts';
import { DEEPSEEK_EXPERTS, deepseekMixture } from '../mixture.ts';
import { attnBias, qkNorm, readBase, slidingLayers, window } from '../read-base.ts';

export const dots1: Family = {
  modelTypes: ['dots1'],
  config: (r) => {
    const base = readBase(r, { rope: { fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    const from = r.int('max_window_layers', 62, 0);
    const sliding = slidingLayers(r, base.nLayer, (l) => l >= from);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...qkNorm(base, 'head'),
      ...window(base, r.intOrNull('sliding_window'), (l) => sliding[l]),
      ...deepseekMixture(r, base, 'sigmoid'),
    };
  },
  tensors: llamaTensors(DEEPSEEK_EXPERTS),
};
