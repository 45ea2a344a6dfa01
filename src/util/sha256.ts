/**
 * @file SHA-256, for names of prepared weights.
 *
 * Browsers offer it only in secure contexts, and a page on plain http may run models too.
 */

/** The first 32 bits of the fractional parts of the square (power 1/2) or cube roots (1/3) of the first primes. */
function rootBits(count: number, power: number): Int32Array {
  const bits = new Int32Array(count);
  for (let candidate = 2, found = 0; found < count; candidate++) {
    let prime = true;
    for (let d = 2; d * d <= candidate; d++) if (candidate % d === 0) prime = false;
    if (!prime) continue;
    const root = candidate ** power;
    bits[found++] = (root - Math.floor(root)) * 4294967296;
  }
  return bits;
}

/** What a hash of a part of the bytes goes on from. */
export interface Sha256State {
  readonly words: readonly number[];
  readonly rest: readonly number[];
  /** Bytes so far. */
  readonly length: number;
}

/** The SHA-256 of bytes that come in pieces. */
export class Sha256 {
  readonly #constants = rootBits(64, 1 / 3);
  readonly #state = rootBits(8, 1 / 2);
  readonly #schedule = new Int32Array(64);
  /** Bytes that do not fill a block yet. */
  readonly #rest = new Uint8Array(64);
  #length = 0;

  /** Goes on where another hash was. */
  static from({ words, rest, length }: Sha256State): Sha256 {
    const hash = new Sha256();
    hash.#state.set(words);
    hash.#rest.set(rest);
    hash.#length = length;
    return hash;
  }

  get state(): Sha256State {
    const rest = this.#rest.subarray(0, this.#length % 64);
    return { words: [...this.#state], rest: [...rest], length: this.#length };
  }

  update(bytes: Uint8Array): this {
    let at = 0;
    const held = this.#length % 64;
    this.#length += bytes.length;
    if (held > 0) {
      at = Math.min(64 - held, bytes.length);
      this.#rest.set(bytes.subarray(0, at), held);
      if (held + at < 64) return this;
      this.#compress(new DataView(this.#rest.buffer), 0);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (; at + 64 <= bytes.length; at += 64) this.#compress(view, at);
    this.#rest.set(bytes.subarray(at));
    return this;
  }

  /** In lower-case hex. Nothing can be added afterwards. */
  digest(): string {
    const held = this.#length % 64;
    // The message, a one bit, zeros, and its length in bits.
    const tail = new Uint8Array(held < 56 ? 64 : 128);
    tail.set(this.#rest.subarray(0, held));
    tail[held] = 0x80;
    const view = new DataView(tail.buffer);
    view.setUint32(tail.length - 8, Math.floor(this.#length / 0x20000000));
    view.setUint32(tail.length - 4, (this.#length << 3) >>> 0);
    for (let at = 0; at < tail.length; at += 64) this.#compress(view, at);
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #compress(view: DataView, at: number): void {
    const [constants, state, schedule] = [this.#constants, this.#state, this.#schedule];
    for (let i = 0; i < 16; i++) schedule[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const x = schedule[i - 15];
      const y = schedule[i - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      schedule[i] = schedule[i - 16] + s0 + schedule[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i] + schedule[i]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    const next = [a, b, c, d, e, f, g, h];
    for (let i = 0; i < 8; i++) state[i] += next[i];
  }
}

/** Node's own, which is some ten times as fast; undefined in browsers. */
const nodeHash = (globalThis.process?.getBuiltinModule?.('node:crypto') as typeof import('node:crypto') | undefined)
  ?.hash;

/** The SHA-256 of `data` (text as UTF-8), in lower-case hex. */
export function sha256(data: Uint8Array | string): string {
  if (nodeHash) return nodeHash('sha256', data, 'hex');
  return new Sha256().update(typeof data === 'string' ? new TextEncoder().encode(data) : data).digest();
}
