/**
 * @file LG's EXAONE 4: norms behind the branches only, windows with rotation, and full layers without. Reference:
 * transformers models/exaone4, arXiv 2507.11407.
 */
import type { ConfigReader } from '../../config/reader.ts';
import { range } from '../../util/numbers.ts';
import { type Family, llamaTensors } from '../family.ts';
import { qkNorm, readBase, ropeOn, slidingLayers, window } from '../read-base.ts';
import { POST_NORM_TENSORS, POST_NORMS_ONLY } from './olmo.ts';

export const exaone4: Family = {
  modelTypes: ['exaone4'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, rope: { fractionKeys: null } });
    const size = r.intOrNull('sliding_window');
    // Without a window all layers are full, and all of them rotate.
    if (size === null) r.skip('layer_types', 'sliding_window_pattern');
    else if (r.has('layer_types')) r.skip('sliding_window_pattern');
    const sliding = size === null ? range(base.nLayer).map(() => false) : slidingLayers(r, base.nLayer, patternOf(r));
    return {
      ...base,
      ...POST_NORMS_ONLY,
      ...qkNorm(base, 'head'),
      ...window(base, size, (l) => sliding[l]),
      ...(size === null ? {} : ropeOn(base, (l) => sliding[l])),
    };
  },
  tensors: llamaTensors(POST_NORM_TENSORS),
};

/**
 * `sliding_window_pattern`: a number n for one full layer in n, or letters such as "LLLG", L for a window. @default 4
 */
function patternOf(r: ConfigReader): (layer: number) => boolean {
  const key = 'sliding_window_pattern';
  if (!r.isString(key)) {
    const pattern = r.int(key, 4);
    return (l) => (l + 1) % pattern !== 0;
  }
  const letters = r.string(key);
  if (!/^[LG]+$/.test(letters)) r.fail(key, `is "${letters}"; known are the letters L and G`);
  return (l) => letters[l % letters.length] === 'L';
}
