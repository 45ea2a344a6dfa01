import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { same } from '../../../test/support/cache-runs.ts';
import { referenceStore } from '../../../test/support/reference-store.ts';
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import { BUFFERS, type BufferKind, createBuffer } from '../buffers.ts';
import { keyScales } from './planes.ts';
import { SlotArray } from './slot-array.ts';
import type { SlotBuffer } from './slot-buffer.ts';

const KINDS = Object.keys(BUFFERS) as BufferKind[];
const bitsOf = (kind: BufferKind) => BUFFERS[kind].bits;
const headSizes = (kind: BufferKind) =>
  bitsOf(kind) === 4 || bitsOf(kind) === 5 ? [2, 6, 32, 34, 64, 96] : [1, 2, 3, 5, 7, 32, 33, 64, 80, 96];
const vectors = (length: number) =>
  fc
    .array(fc.float({ min: -50, max: 50, noNaN: true }), { minLength: length, maxLength: length })
    .map((x) => Float32Array.from(x));

/** Stores one key and value, and reads them again. */
function through(buffer: SlotBuffer, key: Float32Array, value: Float32Array, place = { row: 0, group: 0, slot: 0 }) {
  buffer.write(place, 1, Float32Array.from([9, ...key]), 1, value, 0);
  const [k, v] = [new Float32Array(key.length), new Float32Array(key.length)];
  buffer.readKey(place, k);
  buffer.readValue(place, v);
  return { k, v };
}

function opened(kind: BufferKind, headSize: number, batch = 1, groups = 1, capacity = 1): SlotBuffer {
  const buffer = createBuffer(kind, batch, { groups, keySize: headSize, valueSize: headSize });
  buffer.resize(batch, capacity);
  return buffer;
}

describe.each(KINDS)('%s', (kind) => {
  it('gives back what it previews, which is what its definition says', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...headSizes(kind)).chain((D) => fc.tuple(vectors(D), vectors(D))),
        ([key, value]) => {
          const buffer = opened(kind, key.length);
          const { k, v } = through(buffer, key, value);
          const out = new Float32Array(key.length);
          buffer.keys.preview(0, Float32Array.from([9, ...key]), 1, out);
          expect(same(out, k)).toBe(true);
          buffer.values.preview(0, value, 0, out);
          expect(same(out, v)).toBe(true);
          const [wantKey, wantValue] = [referenceStore(kind, 'key', key), referenceStore(kind, 'value', value)];
          for (const i of key.keys()) {
            expect(k[i]).toBeCloseTo(wantKey[i], 4);
            expect(v[i]).toBeCloseTo(wantValue[i], 4);
          }
          // A key that is put in later is stored the same way, and leaves the value alone.
          buffer.writeKey({ row: 0, group: 0, slot: 0 }, value);
          const again = new Float32Array(key.length);
          buffer.readKey({ row: 0, group: 0, slot: 0 }, again);
          buffer.keys.preview(0, value, 0, out);
          expect(same(again, out)).toBe(true);
          buffer.readValue({ row: 0, group: 0, slot: 0 }, again);
          expect(same(again, v)).toBe(true);
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });

  it('trap 7: constants, zeros, and numbers far from zero survive', () => {
    const { bits, rotates } = BUFFERS[kind];
    const exact = kind === 'float32' ? 0 : kind === 'float16' ? 2 ** -11 : 2 ** -22;
    for (const constant of [0, 1, -1, 5.5, 300, -300, 1e-20, 6e4])
      for (const D of headSizes(kind)) {
        const x = new Float32Array(D).fill(constant);
        // A constant becomes one number of each block of the rotation: blocks of several sizes share a scale.
        const isWhole = D % 32 === 0 && Number.isInteger(Math.log2(D));
        const tolerance = rotates && !isWhole ? (bits === 8 ? 1 / 40 : 1 / 2) : exact;
        const { k, v } = through(opened(kind, D), x, x);
        const bound =
          kind === 'float16' ? Math.max(tolerance * Math.abs(constant), 2 ** -25) : tolerance * Math.abs(constant);
        for (const y of [...k, ...v]) expect(Math.abs(y - x[0])).toBeLessThanOrEqual(bound);
      }
    // A block that does not straddle zero keeps its error small against its size.
    const far = Float32Array.from(range(32), (i) => 5 + i / 31);
    const { k } = through(opened(kind, 32), far, far);
    for (const [i, y] of k.entries())
      expect(Math.abs(y - far[i])).toBeLessThanOrEqual(
        (rotates ? 3 : 1) * (3.01 / (bits === 4 ? 7 : bits === 5 ? 15 : 127)),
      );
  });

  it('takes the memory per token that its documentation says', () => {
    for (const D of headSizes(kind)) {
      const formula = {
        float32: 8 * D,
        float16: 4 * D,
        int8: 2 * D + 4 * (keyScales(D) + 1),
        int5: D + 2 * Math.ceil(D / 8) + 4 * (keyScales(D) + 1),
        int4: D + 4 * (keyScales(D) + 1),
      }[kind.replace('-plain', '') as 'int8'];
      const buffer = opened(kind, D, 2, 3, 5);
      expect(buffer.slotBytes).toBe(formula);
      expect(buffer.bytes).toBe(2 * 3 * 5 * formula);
      const inputs = buffer.inputs.reduce((sum, { array }) => sum + array.data.byteLength, 0);
      expect(inputs).toBe(buffer.bytes);
    }
  });

  it('keeps slots apart, through other sizes, copies, forks and rows', () => {
    const D = bitsOf(kind) === 4 || bitsOf(kind) === 5 ? 6 : 5;
    const content = (row: number, group: number, slot: number) =>
      Float32Array.from(range(2 * D), (i) => Math.sin(1 + row * 97 + group * 31 + slot * 7 + i));
    const buffer = opened(kind, D, 2, 2, 3);
    const wanted = new Map<string, Float32Array>();
    const read = (from: SlotBuffer, row: number, group: number, slot: number) => {
      const out = [new Float32Array(D), new Float32Array(D)];
      from.readKey({ row, group, slot }, out[0]);
      from.readValue({ row, group, slot }, out[1]);
      return Float32Array.from([...out[0], ...out[1]]);
    };
    // Three tokens at once, and one by one.
    for (const row of [0, 1])
      for (const group of [0, 1]) {
        const three = range(3).map((slot) => content(row, group, slot));
        const flat = [...three.flatMap((x) => [...x.subarray(0, D)]), ...three.flatMap((x) => [...x.subarray(D)])];
        const source = Float32Array.from(flat);
        if (group === 0) buffer.write({ row, group, slot: 0 }, 3, source, 0, source, 3 * D);
        else for (const slot of range(3)) buffer.write({ row, group, slot }, 1, three[slot], 0, three[slot], D);
        for (const slot of range(3)) {
          const { k, v } = through(opened(kind, D), three[slot].subarray(0, D), three[slot].subarray(D));
          wanted.set(`${row},${group},${slot}`, Float32Array.from([...k, ...v]));
        }
      }
    const check = (from: SlotBuffer, rows: readonly number[], slots: number) => {
      for (const row of rows)
        for (const group of [0, 1])
          for (const slot of range(slots))
            expect(read(from, row, group, slot)).toEqual(wanted.get(`${row},${group},${slot}`));
    };
    check(buffer, [0, 1], 3);
    buffer.resize(2, 9);
    check(buffer, [0, 1], 3);
    expect(read(buffer, 1, 1, 3).every((x) => x === 0)).toBe(true);
    buffer.resize(3, 4);
    check(buffer, [0, 1], 3);
    const twin = buffer.fork();
    check(twin, [0, 1], 3);
    twin.own();
    const [ones, twos] = [1, 2].map((x) => new Float32Array(D).fill(x));
    const { v: stored } = through(twin, ones, twos, { row: 0, group: 0, slot: 1 });
    check(buffer, [0, 1], 3);
    buffer.own();
    through(buffer, new Float32Array(D).fill(3), new Float32Array(D).fill(3), { row: 0, group: 1, slot: 0 });
    expect(read(twin, 0, 0, 1).subarray(D)).toEqual(stored);
    expect(stored[0]).toBeCloseTo(2, 1);
    expect(read(twin, 0, 1, 0)).toEqual(wanted.get('0,1,0'));
    // From another buffer, whose sizes differ.
    const other = opened(kind, D, 1, 2, 6);
    other.copySlot(twin, 0, 1, 2, 5);
    expect(read(other, 0, 1, 5)).toEqual(wanted.get('0,1,2'));
    const wide = opened(kind, D, 4, 2, 6);
    wide.copyRow(twin, 1, 3);
    for (const group of [0, 1])
      for (const slot of range(3)) expect(read(wide, 3, group, slot)).toEqual(wanted.get(`1,${group},${slot}`));
    wide.wipe(3, 0, 1, 3);
    expect(read(wide, 3, 0, 0)).toEqual(wanted.get('1,0,0'));
    expect(read(wide, 3, 1, 2)).toEqual(wanted.get('1,1,2'));
    for (const slot of [1, 2]) expect(read(wide, 3, 0, slot).every((x) => x === 0)).toBe(true);
    buffer.resize(1, 2);
    expect(read(buffer, 0, 0, 1)).toEqual(wanted.get('0,0,1'));
  });
});

/** A vector times a power of two. */
const scaledVectors = (sizes: readonly number[]) =>
  fc
    .constantFrom(...sizes)
    .chain((D) => fc.tuple(vectors(D), fc.integer({ min: -30, max: 30 })))
    .map(([x, exponent]) => x.map((y) => y * 2 ** exponent));

/** Parts of a vector that share a scale. */
const partsOf = (x: Float32Array, count: number) =>
  range(count).map((i) => x.subarray((i * x.length) / count, ((i + 1) * x.length) / count));
const largestOf = (x: Float32Array) => Math.max(...x.map(Math.abs));

describe('int8-plain', () => {
  it('is off by no more than half a step, scale by scale', () => {
    fc.assert(
      fc.property(scaledVectors(headSizes('int8-plain')), (x) => {
        const { k, v } = through(opened('int8-plain', x.length), x, x);
        for (const [stored, count] of [
          [k, keyScales(x.length)],
          [v, 1],
        ] as const)
          for (const [i, part] of partsOf(x, count).entries()) {
            // Smaller steps than float32 can tell apart are none.
            const half = Math.max((largestOf(part) / 127 / 2) * (1 + 1e-5), 2e-36);
            partsOf(stored, count)[i].forEach((y, j) => {
              expect(Math.abs(y - part[j])).toBeLessThanOrEqual(half);
            });
          }
      }),
      { numRuns: 200, seed: 1 },
    );
  });
});

describe('int4-plain', () => {
  it('loses no more of a scale’s numbers together than with the scale by the largest', () => {
    const lossOf = (x: Float32Array, stored: (i: number) => number) =>
      x.reduce((sum, y, i) => sum + (y - stored(i)) ** 2, 0);
    let [own, other] = [0, 0];
    fc.assert(
      fc.property(scaledVectors(headSizes('int4-plain')), (x) => {
        const { k, v } = through(opened('int4-plain', x.length), x, x);
        for (const [stored, count] of [
          [k, keyScales(x.length)],
          [v, 1],
        ] as const)
          for (const [i, part] of partsOf(x, count).entries()) {
            const step = largestOf(part) / 7;
            const loss = lossOf(part, (j) => partsOf(stored, count)[i][j]);
            const byLargest = step === 0 ? 0 : lossOf(part, (j) => Math.round(part[j] / step) * step);
            expect(loss).toBeLessThanOrEqual(byLargest * (1 + 1e-4) + (1e-6 * step) ** 2 + 1e-70);
            // Smaller ones are stored as 0.
            if (step < 2 ** -100) continue;
            own += loss / step ** 2;
            other += byLargest / step ** 2;
          }
      }),
      { numRuns: 200, seed: 1 },
    );
    expect(own).toBeLessThan(0.95 * other);
  });
});

describe.each(['int8-plain', 'int4-plain'] as const)('%s', (kind) => {
  it('stays within its bytes at the edges of float32', () => {
    const units = range(400).map((i) => i * 2 ** -149);
    for (const size of [...units, 5e-42, 1e-38, 1e-36, 3e38, 3.4e38]) {
      const x = Float32Array.from([size, -size, size / 2, 0]);
      const { k } = through(opened(kind, 4), x, x);
      for (const [i, y] of k.entries()) {
        expect(Math.abs(y)).toBeLessThanOrEqual(size * 1.0001);
        expect(Math.abs(y - x[i])).toBeLessThanOrEqual(Math.max(size / 13, 2e-36));
      }
    }
  });

  it('does not hide what is not a number', () => {
    for (const odd of [Number.NaN, Infinity]) {
      const { k } = through(opened(kind, 2), Float32Array.of(odd, 1), Float32Array.of(odd, 1));
      expect(Number.isFinite(k[0])).toBe(false);
    }
  });
});

describe('buffers', () => {
  const sizes = (size: number) => ({ groups: 1, keySize: size, valueSize: size });

  it('that there are not, or that do not fit, are refused by name', () => {
    expect(() => createBuffer('int2' as BufferKind, 1, sizes(4))).toThrow(InputError);
    expect(() => createBuffer('int2' as BufferKind, 1, sizes(4))).toThrow(
      /no cache buffer "int2"; there are float32, float16, int8, int5, int4/,
    );
    expect(() => createBuffer('toString' as BufferKind, 1, sizes(4))).toThrow(InputError);
    expect(() => createBuffer('int4', 1, sizes(5))).toThrow(/int4 needs an even head size, but this model's is 5/);
  });
});

describe('SlotArray', () => {
  it('shares its array until one of several writes, whatever the order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('share', 'write', 'resize', 'drop'), fc.nat(5), fc.nat(5)), {
          maxLength: 30,
        }),
        (ops) => {
          const arrays = range(6).map(() => new SlotArray(Float64Array, 1, 1, 1, -1));
          const wanted = arrays.map((): number[] => [-1]);
          for (const array of arrays) array.resize(1, 1);
          for (const [n, [op, a, b]] of ops.entries()) {
            if (op === 'share' && a !== b) {
              arrays[a].share(arrays[b]);
              wanted[a] = [...wanted[b]];
            } else if (op === 'write') {
              arrays[a].own();
              arrays[a].data[0] = n;
              wanted[a][0] = n;
            } else if (op === 'resize') {
              arrays[a].resize(1, b + 1);
              wanted[a] = range(b + 1).map((i) => wanted[a][i] ?? -1);
            } else {
              arrays[a].own();
              arrays[a].wipe(0, 0, 0, 1);
              wanted[a][0] = -1;
            }
            expect(arrays.map(({ data }) => [...data])).toEqual(wanted);
          }
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });

  it('keeps every slot within both sizes where it was, in the memory it has or in new one', () => {
    const size = fc.record({ batch: fc.nat(3), capacity: fc.nat(9), reserve: fc.nat(12), fill: fc.boolean() });
    fc.assert(
      fc.property(fc.array(size, { maxLength: 12 }), fc.constantFrom(0, -1), (sizes, empty) => {
        const array = new SlotArray(Float64Array, 1, 2, 3, empty);
        let wanted: number[][][][] = [[[], []]];
        for (const [n, { batch, capacity, reserve, fill }] of sizes.entries()) {
          array.resize(batch, capacity, reserve);
          wanted = range(batch).map((row) =>
            range(2).map((group) =>
              range(capacity).map((slot) => wanted[row]?.[group][slot] ?? new Array<number>(3).fill(empty)),
            ),
          );
          expect([...array.data]).toEqual(wanted.flat(3));
          if (!fill) continue;
          array.data.forEach((_, i) => {
            array.data[i] = 1000 * n + i;
          });
          let next = 1000 * n;
          wanted = wanted.map((row) => row.map((group) => group.map((slot) => slot.map(() => next++))));
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it('keeps every slot where groups differ, in the memory it has or in new one', () => {
    const size = fc.record({
      batch: fc.constantFrom(1, 1, 1, 1, 0, 2),
      capacities: fc.array(fc.nat(9), { minLength: 4, maxLength: 4 }),
    });
    let inPlace = 0;
    fc.assert(
      fc.property(fc.array(size, { maxLength: 12 }), fc.constantFrom(0, -1), (sizes, empty) => {
        const array = new SlotArray(Float64Array, 1, 4, 3, empty);
        let wanted: number[][][][] = [[], [], [], []];
        for (const [n, { batch, capacities }] of sizes.entries()) {
          const { buffer } = array.data;
          array.resize(batch, capacities);
          if (array.data.buffer === buffer) inPlace++;
          wanted = capacities.map((capacity, group) =>
            range(batch).map((row) =>
              range(capacity).map((slot) => wanted[group][row]?.[slot] ?? new Array<number>(3).fill(empty)),
            ),
          );
          expect([...array.data]).toEqual(wanted.flat(3));
          array.data.forEach((_, i) => {
            array.data[i] = 1000 * n + i;
          });
          let next = 1000 * n;
          wanted = wanted.map((group) => group.map((row) => row.map((slot) => slot.map(() => next++))));
        }
      }),
      { numRuns: 500, seed: 1 },
    );
    expect(inPlace).toBeGreaterThan(200);
  });

  it('gives memory back that groups which differ need no more', () => {
    const array = new SlotArray(Float32Array, 1, 2, 4);
    array.resize(1, [60, 40]);
    const { buffer } = array.data;
    array.resize(1, [100, 50]);
    expect(array.data.buffer).toBe(buffer);
    array.resize(1, [20, 100]);
    expect(array.data.buffer).toBe(buffer);
    array.resize(1, [20, 50]);
    expect(array.data.buffer.byteLength).toBe(1.5 * 70 * 4 * 4);
  });

  it('grows into what was reserved without new memory, and gives memory back that is more than twice what is needed', () => {
    const array = new SlotArray(Float32Array, 1, 2, 4);
    array.resize(1, 10, 100);
    const { buffer } = array.data;
    array.resize(1, 100);
    expect(array.data.buffer).toBe(buffer);
    array.resize(1, 50);
    expect(array.data.buffer).toBe(buffer);
    array.resize(1, 20);
    expect(array.data.buffer.byteLength).toBe(4 * 2 * 20 * 4);
  });

  it('copies only when it has to', () => {
    const a = new SlotArray(Uint8Array, 1, 1, 1);
    a.resize(1, 4);
    const { data } = a;
    a.own();
    expect(a.data).toBe(data);
    const b = new SlotArray(Uint8Array, 1, 1, 1);
    b.share(a);
    expect(b.data).toBe(data);
    b.own();
    expect(b.data).not.toBe(data);
    a.own();
    expect(a.data).toBe(data);
  });
});
