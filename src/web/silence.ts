/**
 * @file Notices that a worker has stopped: a browser that takes a worker's memory away tells the page nothing.
 */

/** How often a worker says that it is alive. A step, or the making of a session, delays it. */
export const HEARTBEAT_MS = 2000;

/** Calls `onSilence` when a worker that has work says nothing. */
export class SilenceWatch {
  readonly #limit: number;
  readonly #onSilence: () => void;
  readonly #tickMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #ticks = 0;

  /** @param ms of silence that are too many. */
  constructor(ms: number, onSilence: () => void) {
    // Ticks are counted, not time: a computer that slept for an hour has one tick, and no silence of an hour.
    this.#limit = 10;
    this.#tickMs = ms / this.#limit;
    this.#onSilence = onSilence;
  }

  /** @param busy whether calls are under way. */
  watch(busy: boolean): void {
    this.heard();
    clearInterval(this.#timer);
    this.#timer = busy ? setInterval(() => this.#tick(), this.#tickMs) : undefined;
  }

  /** The worker said something. */
  heard(): void {
    this.#ticks = 0;
  }

  #tick(): void {
    this.#ticks++;
    if (this.#ticks <= this.#limit) return;
    this.watch(false);
    this.#onSilence();
  }
}
