/**
 * @file How far a download is, how fast it comes, and how long it will take.
 */

/** How far the download of a model is. */
export interface FetchProgress {
  /** Bytes that are there, those of an earlier download included. */
  readonly bytes: number;
  /** Bytes in all of the files that are known; of one whose server tells no length, those that have come. */
  readonly total: number;
  /** The file that just grew. */
  readonly file: string;
  /** Bytes a second over the last seconds; 0: not known yet. */
  readonly rate: number;
  /** Seconds until the end at this rate; null: not known yet. */
  readonly secondsLeft: number | null;
}

const EVERY_MS = 100;
/** The rate is a mean over this time. */
const WINDOW_MS = 5000;

export class ProgressMeter {
  total: number;
  readonly #onProgress: (progress: FetchProgress) => void;
  readonly #now: () => number;
  /** Times and bytes of the last seconds. */
  readonly #samples: { readonly at: number; readonly bytes: number }[] = [];
  #told = Number.NEGATIVE_INFINITY;

  /** @param now milliseconds. */
  constructor(total: number, onProgress: (progress: FetchProgress) => void, now = () => performance.now()) {
    this.total = total;
    this.#onProgress = onProgress;
    this.#now = now;
  }

  /** Tells no more than ten times a second. */
  tell(bytes: number, file: string): void {
    const at = this.#now();
    const samples = this.#samples;
    // What was there before did not come now: a fall is a download that began anew.
    if (samples.length > 0 && bytes < samples.at(-1)!.bytes) samples.length = 0;
    if (samples.length > 0 && at - this.#told < EVERY_MS) return;
    samples.push({ at, bytes });
    while (samples.length > 2 && samples[1].at < at - WINDOW_MS) samples.shift();
    this.#told = at;
    const [{ at: start, bytes: before }] = samples;
    const rate = at > start ? ((bytes - before) * 1000) / (at - start) : 0;
    // Servers that tell no length leave nothing to come.
    const secondsLeft = rate > 0 && this.total > bytes ? (this.total - bytes) / rate : null;
    this.#onProgress({ bytes, total: this.total, file, rate, secondsLeft });
  }

  end(file: string): void {
    this.#onProgress({ bytes: this.total, total: this.total, file, rate: 0, secondsLeft: 0 });
  }
}
