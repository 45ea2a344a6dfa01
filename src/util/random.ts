/**
 * @file A small random generator with a seed.
 */
import { wholeNumber } from './numbers.ts';

/** All that decides what comes next: four numbers of 32 bits. */
export type RandomState = readonly [number, number, number, number];

/**
 * sfc32 (Chris Doty-Humphrey's "small fast chaotic" generator of PractRand, 128 bits of state, a period of at least
 * 2^32), seeded through splitmix32. The same seed gives the same numbers on every machine. Not for secrets.
 */
export class Random {
  readonly #state = new Uint32Array(4);

  /**
   * @param seed a whole number from 0 to 2^53 - 1; @default one of the system's
   * @throws InputError for any other seed.
   */
  constructor(seed?: number) {
    if (seed === undefined) {
      crypto.getRandomValues(this.#state);
      return;
    }
    wholeNumber('seed', seed, 0);
    const low = splitmix32(seed >>> 0);
    const high = splitmix32(Math.floor(seed / 2 ** 32));
    this.#state.set([low(), low() ^ high(), low() ^ high(), 1]);
    // The first outputs of near seeds are alike; a dozen rounds part them.
    for (let i = 0; i < 12; i++) this.#next32();
  }

  /** From 0 to below 1, in steps of 2^-53. */
  next(): number {
    const high = this.#next32() >>> 5;
    const low = this.#next32() >>> 6;
    return (high * 2 ** 26 + low) * 2 ** -53;
  }

  /** Where the generator is. */
  get state(): RandomState {
    const [a, b, c, d] = this.#state;
    return [a, b, c, d];
  }

  #next32(): number {
    const s = this.#state;
    const out = (s[0] + s[1] + s[3]) >>> 0;
    s[3] += 1;
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = s[2] + (s[2] << 3);
    s[2] = ((s[2] << 21) | (s[2] >>> 11)) + out;
    return out;
  }
}

function splitmix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}
