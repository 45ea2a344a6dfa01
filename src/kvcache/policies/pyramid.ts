/**
 * @file `pyramid`: snapkv with wide early layers and narrow late ones.
 */
import { InputError } from '../../util/errors.ts';
import type { CacheShape } from '../shape.ts';
import type { LayerView } from '../view.ts';
import { SnapKVCache, type SnapKVOptions } from './snapkv.ts';

export interface PyramidOptions extends SnapKVOptions {
  /** The last layer keeps cacheLength / beta slots; 20 unless stated. */
  readonly beta?: number;
}

const BETA = 20;

/**
 * PyramidKV (arXiv 2406.02069): layer l of L keeps round(max − l·(max − min)/(L − 1)) slots, min = N/beta (at least 1), max =
 * 2N − min, so that the mean over layers is N. The scores are snapkv's; window and sinks shrink where a layer has no room for them.
 * As long as the whole sequence fits N, all of it stays in all layers.
 */
export class PyramidKVCache extends SnapKVCache {
  override readonly policy = 'pyramid';

  /** @throws InputError for a beta below 1. */
  constructor(shape: CacheShape, options: PyramidOptions) {
    super(shape, options, { budget: pyramid(shape.nLayer, options) });
  }

  override room(row = 0): number {
    return Math.max(super.room(row), this.cacheLength - this.length(row));
  }

  protected override overflows(view: LayerView): boolean {
    return view.now >= this.cacheLength && super.overflows(view);
  }

  protected override mostPerGroup(budget: number): number {
    return Math.max(this.cacheLength, super.mostPerGroup(budget));
  }
}

/** The slots of each layer. */
export function pyramid(nLayer: number, options: PyramidOptions): (layer: number) => number {
  const { cacheLength: N, beta = BETA } = options;
  if (!(beta >= 1 && beta < Number.POSITIVE_INFINITY)) throw new InputError(`beta must be at least 1, but is ${beta}`);
  const min = Math.max(1, N / beta);
  const max = 2 * N - min;
  return (layer) => {
    const mirror = nLayer - 1 - layer;
    if (layer === mirror) return N;
    // Later layers get what the early ones leave, so that the mean is N whatever was rounded.
    if (layer > mirror) return 2 * N - roundHalfEven(max - (mirror * (max - min)) / (nLayer - 1));
    return roundHalfEven(max - (layer * (max - min)) / (nLayer - 1));
  };
}

function roundHalfEven(x: number): number {
  const whole = Math.floor(x);
  if (x - whole !== 0.5) return Math.round(x);
  return whole % 2 === 0 ? whole : whole + 1;
}
