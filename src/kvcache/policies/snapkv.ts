/**
 * @file `snapkv`: what the end of the prompt looks at.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { AttnWeightsKVCache, type ScoreFrame, type ScoreOptions } from '../attn-weights.ts';
import type { Need } from '../kv-cache.ts';
import type { CacheShape } from '../shape.ts';
import type { GroupView, LayerView } from '../view.ts';

export interface SnapKVOptions extends ScoreOptions {
  /** W: the prompt's last tokens, whose attention counts; 32 unless stated (fewer where the budget is small). */
  readonly window?: number;
  /** Scores of so many neighbours are averaged; odd, 5 unless stated. */
  readonly kernel?: number;
}

const WINDOW = 32;
const KERNEL = 5;

/**
 * SnapKV (arXiv 2404.14469): while the prompt lasts, a slot's score is what the chunk's last W queries pay to it, averaged over
 * 5 neighbouring positions (at the edges over what is there); the window itself is safe. The schedule makes the prompt's last
 * chunk W tokens long. Afterwards scores go on as h2o's, from these as a start, each divided by the queries counted that could see
 * the slot. What differs from the paper: groups decide for themselves, sinks stay, and a prompt that exceeds the budget is cut
 * down chunk by chunk, by each chunk's own window, instead of at its end.
 */
export class SnapKVCache extends AttnWeightsKVCache {
  readonly policy: string = 'snapkv';
  readonly window: number;
  readonly kernel: number;
  override readonly promptTail: number;

  /** @throws InputError where sinks and window exceed the budget, or the kernel has no middle. */
  constructor(shape: CacheShape, options: SnapKVOptions, frame: ScoreFrame = {}) {
    super(shape, options, { needs: ['window'], sinks: 4, numbers: 1, ...frame });
    this.window = wholeNumber('window', options.window ?? Math.min(WINDOW, this.cacheLength - this.sinks));
    if (this.sinks + this.window > this.cacheLength)
      throw new InputError(
        `${this.sinks} sinks and a window of ${this.window} are more than the cacheLength of ${this.cacheLength}`,
      );
    this.kernel = wholeNumber('kernel', options.kernel ?? KERNEL);
    if (this.kernel % 2 === 0) throw new InputError(`kernel must be odd, but is ${this.kernel}`);
    this.promptTail = this.window;
  }

  protected override needRange(_need: Need, fresh: number): readonly [number, number] {
    return [Math.max(0, fresh - this.window), fresh];
  }

  protected override recentOf(view: LayerView): number {
    return view.phase === 'decode' ? this.recent : this.window;
  }

  protected override observe(view: LayerView): void {
    const counted = Math.min(view.fresh, this.window);
    // Layers share the row's number, and come one after the other: the first one sets it.
    if (view.layer === this.firstLayer) view.numbers[0] = view.phase === 'decode' ? view.numbers[0] + counted : counted;
    super.observe(view);
  }

  protected override score(group: GroupView, { phase }: LayerView): void {
    const {
      scores,
      weights: [sums],
      length,
    } = group;
    if (phase === 'decode') for (let j = 0; j < length; j++) scores[j] += sums[j];
    else this.#pool(group);
  }

  protected override rank({ values, scores, positions, length }: GroupView, { now, numbers, phase }: LayerView): void {
    if (phase === 'decode')
      for (let j = 0; j < length; j++) values[j] = scores[j] / Math.min(now - positions[j] + 1, numbers[0]);
    else for (let j = 0; j < length; j++) values[j] = scores[j];
  }

  /** scores = the means of `kernel` neighbours' sums, in the order of positions. */
  #pool({ scores, weights: [sums], positions, length }: GroupView): void {
    const order = Array.from({ length }, (_, j) => j).sort((a, b) => positions[a] - positions[b]);
    const half = (this.kernel - 1) / 2;
    for (let i = 0; i < length; i++) {
      const from = Math.max(0, i - half);
      const to = Math.min(length, i + half + 1);
      let sum = 0;
      for (let n = from; n < to; n++) sum += sums[order[n]];
      scores[order[i]] = sum / (to - from);
    }
  }
}
