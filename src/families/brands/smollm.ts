/**
 * @file SmolLM3: Llama with layers that rotate nothing (NoPE, arXiv 2501.18795). Reference: transformers
 * models/smollm3.
 */
import { range } from '../../util/numbers.ts';
import { type Family, llamaTensors } from '../family.ts';
import { attnBias, readBase, ropeOn, rotatingLayers, slidingLayers, window } from '../read-base.ts';

export const smollm3: Family = {
  modelTypes: ['smollm3'],
  config: (r) => {
    const base = readBase(r, { tie: true, nQueryGroups: 4, rope: { theta: 2e6, fractionKeys: null } });
    const bias = r.bool('attention_bias', false);
    const rotates = rotatingLayers(r, base.nLayer);
    const size = r.bool('use_sliding_window', false) ? r.intOrNull('sliding_window') : null;
    r.skip('max_window_layers');
    if (size === null) r.skip('sliding_window', 'layer_types');
    const sliding =
      size === null ? range(base.nLayer).map(() => false) : slidingLayers(r, base.nLayer, (l) => !rotates[l]);
    return {
      ...base,
      ...attnBias(base, bias, bias),
      ...ropeOn(base, (l) => rotates[l]),
      ...window(base, size, (l) => sliding[l]),
      mlpBias: r.bool('mlp_bias', false),
    };
  },
  tensors: llamaTensors(),
};
