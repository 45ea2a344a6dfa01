/**
 * @file `pyramid`: snapkv with wide early layers and narrow late ones.
 */
import { InputError } from '../../util/errors.ts';
import { definePolicy } from '../policy/define-policy.ts';
import { SNAPKV_OPTIONS, type SnapKVOptions, snapRules } from './snapkv.ts';

export interface PyramidOptions extends SnapKVOptions {
  /** The last layer keeps cacheLength / beta slots. @default 20 */
  readonly beta?: number;
}

const BETA = 20;

/**
 * PyramidKV (arXiv 2406.02069): layer l of L keeps round(max − l·(max − min)/(L − 1)) slots, min = N/beta (at least 1),
 * max = 2N − min, so that the mean over layers is N. The scores are snapkv's; window and sinks shrink in a layer whose
 * budget is smaller. As long as the whole sequence fits N, all of it stays in all layers.
 */
export const pyramidKV = definePolicy<PyramidOptions>({
  name: 'pyramid',
  summary: 'snapkv, with more slots for early layers',
  options: { ...SNAPKV_OPTIONS, beta: 'the last layer keeps cacheLength / beta slots' },
  setup: (setup) => {
    // Layers that keep no slots have no part in the mean.
    const withSlots = [...setup.shape.layers.keys()].filter((l) => setup.shape.layers[l].slots);
    const budget = pyramid(withSlots.length, setup.options);
    return { ...snapRules(setup), startsWhole: true, budget: (layer) => budget(withSlots.indexOf(layer)) };
  },
});

/** The slots of each layer. @throws InputError for a beta below 1. */
export function pyramid(layers: number, options: PyramidOptions): (layer: number) => number {
  const { cacheLength: N, beta = BETA } = options;
  if (!(beta >= 1 && beta < Number.POSITIVE_INFINITY)) throw new InputError(`beta must be at least 1, but is ${beta}`);
  const min = Math.max(1, N / beta);
  const max = 2 * N - min;
  return (layer) => {
    const mirror = layers - 1 - layer;
    if (layer === mirror) return N;
    // Later layers get what the early ones leave, so that the mean is N whatever was rounded.
    if (layer > mirror) return 2 * N - roundHalfEven(max - (mirror * (max - min)) / (layers - 1));
    return roundHalfEven(max - (layer * (max - min)) / (layers - 1));
  };
}

function roundHalfEven(x: number): number {
  const whole = Math.floor(x);
  if (x - whole !== 0.5) return Math.round(x);
  return whole % 2 === 0 ? whole : whole + 1;
}
