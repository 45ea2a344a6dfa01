/**
 * @file What a policy sees of one query group after a chunk: plain arrays.
 */
import { InputError } from '../../util/errors.ts';
import { floatToHalf, halfToFloat } from '../buffers/float16.ts';
import type { SlotTable } from '../slots/slots.ts';
import { KnownFields } from './known-fields.ts';

export type Half = 'key' | 'value';

/** What of its layer a group reads. */
export interface ReadLayer {
  readonly layer: number;
  readonly keySize: number;
  readonly valueSize: number;
  read(group: GroupView, j: number, half: Half, out: Float32Array): void;
  readExact(group: GroupView, j: number, half: Half, out: Float32Array): void;
  readKeys(group: GroupView, out: Float32Array): void;
  readStored(group: GroupView, half: Half, candidates: ArrayLike<number>, out: Float32Array): void;
  turn(half: Half, vector: Float32Array): void;
  turnBack(group: GroupView, j: number, key: Float32Array): void;
}

/**
 * One query group: the `held` slots, then the chunk's new tokens. The arrays may be longer than `length`, and belong to
 * the cache: they are overwritten by the next layer.
 */
export class GroupView extends KnownFields {
  /** Which of the layer's groups this is; 0 where all decide together. Of a part: which of its own groups. */
  index: number;
  /** n + T: slots held, and new tokens. */
  length = 0;
  /** n: slots held; the candidates from here on are new tokens. */
  held = 0;
  /** Slots that the group may hold. */
  budget = 0;
  /** Position of each candidate in its sequence. */
  positions = new Float32Array(0);
  /** The policy's own numbers of each slot, which move with it; a new token starts with 0. */
  slotState: Float64Array[] = [];
  /** @internal Whether {@link slotState} is the memory of the slots itself. */
  isInPlace = false;
  /**
   * One array for each of the policy's needs, in that order: weights on each slot, of all queries and heads together.
   */
  weights: Float32Array[] = [];
  /**
   * Each key's product with the unit vector along the mean of the directions k / ‖k‖ of all of them: where the policy
   * asks for it (`needsAlongMean`). New tokens' keys count as the model made them.
   */
  alongMean = new Float64Array(0);
  /** Of each candidate: 1: it stays, 0: it is evicted. */
  keep = new Uint8Array(0);
  /** Values by which slots are ranked: the higher stay. */
  values = new Float64Array(0);
  /** @internal Candidates that later queries may see. */
  visible = 0;
  /** @internal What was merged into candidates that stay. */
  readonly merged: MergedSlot[];
  /** @internal Whether {@link values} are those of this chunk. */
  ranked = false;
  /** Of {@link merged}, kept from chunk to chunk: to make them anew took as long as to fill them. */
  readonly #vectors: Float32Array[] = [];
  readonly #layer: ReadLayer;
  /** The group whose slots these are: itself, but for views of parts. */
  readonly #of: GroupView;
  /** {@link slotState}, where it is a copy. */
  #copies: Float64Array[] = [];
  /** Those that do not stay, so many: a search for them took a tenth of a step's bookkeeping. */
  #gone = new Int32Array(0);
  #goneCount = 0;

  constructor(layer: ReadLayer, index: number, of?: GroupView) {
    super();
    this.#layer = layer;
    this.#of = of ? of.#of : this;
    this.index = index;
    this.merged = of?.merged ?? [];
  }

  /**
   * @internal A view of the same group for a policy that is a part of another one, with an index, numbers, weights and
   * values of its own. It has the same class, and not the group as its prototype: an object that is one has hidden
   * classes of its own, which made each access to a group slow.
   */
  makePart(): GroupView {
    return new GroupView(this.#layer, this.index, this);
  }

  /** @internal Brings the view of a part up to date with its group. */
  follow(): void {
    const of = this.#of;
    this.length = of.length;
    this.held = of.held;
    this.budget = of.budget;
    this.positions = of.positions;
    this.alongMean = of.alongMean;
    this.keep = of.keep;
    this.isInPlace = of.isInPlace;
    this.ranked = false;
  }

  /** The first of {@link slotState}. */
  get scores(): Float64Array {
    return this.slotState[0];
  }

  /** How many stay. */
  get kept(): number {
    return this.length - this.#of.#goneCount;
  }

  /** Those that do not stay, in no order: a view, which later evictions change. */
  get gone(): Int32Array {
    return this.#of.#gone.subarray(0, this.#of.#goneCount);
  }

  /** @internal Candidate `j` does not stay. */
  evict(j: number): void {
    if (this.keep[j] === 0) return;
    this.keep[j] = 0;
    const of = this.#of;
    of.#gone[of.#goneCount++] = j;
  }

  /**
   * Reads the key of candidate `j`, as it is (or will be) stored, into an array of `layer.keySize` numbers. A
   * function of its own: it may be destructured, as the other `read…` may.
   */
  readonly readKey = (j: number, out: Float32Array): void => this.#read(j, 'key', out, false);

  /** The value of candidate `j`, into an array of `layer.valueSize` numbers. */
  readonly readValue = (j: number, out: Float32Array): void => this.#read(j, 'value', out, false);

  /** The key of a new token (`j` ≥ `held`) as the model made it. */
  readonly readExactKey = (j: number, out: Float32Array): void => this.#read(j, 'key', out, true);

  /** The value of a new token as the model made it. */
  readonly readExactValue = (j: number, out: Float32Array): void => this.#read(j, 'value', out, true);

  /**
   * The key of candidate `j` before it was rotated.
   * @param exact of a new token: as the model made it, before it is stored.
   * @throws InputError in models whose rotation depends on the length of the sequence.
   */
  readonly readPlainKey = (j: number, out: Float32Array, exact = false): void => {
    this.#read(j, 'key', out, exact);
    this.#layer.turnBack(this.#of, j, out);
  };

  /** The keys of all candidates, behind each other [length, keySize]; `out` may be longer. */
  readonly readKeys = (out: Float32Array): void => this.#layer.readKeys(this.#of, out);

  /**
   * The keys of some candidates, behind each other, as they are stored: rotated by one orthonormal matrix where the
   * buffer rotates them. So their lengths, products and distances are those of the keys, and they take a third of the
   * time.
   * @throws InputError for a candidate that there is not.
   */
  readonly readStoredKeys = (candidates: ArrayLike<number>, out: Float32Array): void =>
    this.readStored('key', candidates, out);

  /** @internal The same of keys or values. */
  readonly readStored = (half: Half, candidates: ArrayLike<number>, out: Float32Array): void => {
    for (let i = 0; i < candidates.length; i++) this.#checkCandidate(candidates[i], 0);
    this.#layer.readStored(this.#of, half, candidates, out);
  };

  /**
   * Replaces the key and the value of candidate `j`, which stays: it stands for `tokens` tokens from now on. For
   * `merge` of a policy.
   * @param key [keySize]. @param value [valueSize]. Both are copied.
   * @throws InputError for a candidate that does not stay, or a number of tokens below 1.
   */
  readonly merge = (j: number, key: Float32Array, value: Float32Array, tokens: number): void => {
    const merged = this.#merge(j, key, value, tokens);
    this.#layer.turn('key', merged.key);
    this.#layer.turn('value', merged.value);
  };

  /** @internal The same with vectors as they are stored, or means of such ones. */
  readonly mergeStored = (j: number, key: Float32Array, value: Float32Array, tokens: number): void => {
    this.#merge(j, key, value, tokens);
  };

  #merge(j: number, key: Float32Array, value: Float32Array, tokens: number): MergedSlot {
    if (!(Number.isInteger(j) && j >= 0 && j < this.length && this.keep[j] === 1))
      throw new InputError(`nothing can be merged into candidate ${j}, which does not stay`);
    if (!(tokens >= 1)) throw new InputError(`a slot stands for at least one token, not ${tokens}`);
    this.#checkSize('key', key);
    this.#checkSize('value', value);
    // As fused attention adds it: engines would differ by 0.2 % of a weight.
    const logTokens = halfToFloat(floatToHalf(Math.log(tokens)));
    const vectors = this.#vectors;
    const at = 2 * this.merged.length;
    vectors[at] = copied(key, vectors[at]);
    vectors[at + 1] = copied(value, vectors[at + 1]);
    const merged = { candidate: j, key: vectors[at], value: vectors[at + 1], logTokens };
    this.merged.push(merged);
    return merged;
  }

  /** @internal Sizes the arrays for the candidates, and marks all of them as staying. */
  reset(held: number, newTokens: number, budget: number, needs: number): void {
    const length = held + newTokens;
    if (this.positions.length < length) {
      const size = Math.ceil(length * 1.25);
      this.positions = new Float32Array(size);
      this.values = new Float64Array(size);
      this.keep = new Uint8Array(size);
      this.#gone = new Int32Array(size);
      this.#copies = [];
      this.weights = [];
    }
    while (this.weights.length < needs) this.weights.push(new Float32Array(this.positions.length));
    this.held = held;
    this.length = length;
    this.budget = budget;
    this.ranked = false;
    this.#goneCount = 0;
    this.merged.length = 0;
    this.keep.fill(1, 0, length);
  }

  /**
   * @internal Takes the policy's numbers of the slots held.
   * @param inPlace the memory of the slots, as long as the candidates are many; null: they are copied.
   */
  loadState(table: SlotTable, row: number, inPlace: Float64Array[] | null): void {
    const { held, length } = this;
    this.isInPlace = inPlace !== null;
    this.slotState = inPlace ?? this.#copyState(table, row);
    for (const numbers of this.slotState) numbers.fill(0, held, length);
  }

  #copyState({ slotState }: SlotTable, row: number): Float64Array[] {
    const copies = this.#copies;
    while (copies.length < slotState.length) copies.push(new Float64Array(this.positions.length));
    return slotState.map((array, c) => {
      const at = array.at(row, this.index);
      copies[c].set(array.data.subarray(at, at + this.held));
      return copies[c];
    });
  }

  #read(j: number, half: Half, out: Float32Array, exact: boolean): void {
    const layer = this.#layer;
    this.#checkSize(half, out);
    this.#checkCandidate(j, exact ? this.held : 0);
    if (exact) layer.readExact(this.#of, j, half, out);
    else layer.read(this.#of, j, half, out);
  }

  /** @param first the first that may be read: 0, or that of the new tokens. */
  #checkCandidate(j: number, first: number): void {
    if (Number.isInteger(j) && j >= first && j < this.length) return;
    const which = first === 0 ? 'they' : 'new tokens';
    throw new InputError(`there is no candidate ${j}: ${which} go from ${first} to ${this.length - 1}`);
  }

  #checkSize(half: Half, array: Float32Array): void {
    const { layer, keySize, valueSize } = this.#layer;
    const size = half === 'key' ? keySize : valueSize;
    if (array.length !== size)
      throw new InputError(`a ${half} of layer ${layer} has ${size} numbers, but the array has ${array.length}`);
  }
}

/** A copy of a vector, in memory of a former one where that has the same size. */
function copied(vector: Float32Array, memory: Float32Array | undefined): Float32Array {
  if (memory?.length !== vector.length) return vector.slice();
  memory.set(vector);
  return memory;
}

/** A candidate that stays, and stands for several tokens. */
export interface MergedSlot {
  readonly candidate: number;
  /** As it is stored: rotated where the buffer rotates keys. */
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** The natural logarithm of their number, a number of float16. */
  readonly logTokens: number;
}
