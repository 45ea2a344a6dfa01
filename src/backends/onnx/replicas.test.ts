import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { SlotBuffer } from '../../kvcache/buffers/slot-buffer.ts';
import { BUFFERS, createBuffer } from '../../kvcache/buffers.ts';
import { range } from '../../util/numbers.ts';
import { tensorOf } from '../types.ts';
import type { GpuBuffer, GpuDevice } from './gpu-types.ts';
import { Replicas } from './replicas.ts';

const unused = (): never => {
  throw new Error('copies do not use it');
};

/** A device whose buffers are arrays. */
function fakeDevice() {
  const contents = new Map<GpuBuffer, Uint8Array>();
  let made = 0;
  const device: GpuDevice = {
    lost: new Promise(() => {}),
    queue: {
      writeBuffer(buffer, at, data, start, bytes) {
        contents.get(buffer)!.set(new Uint8Array(data, start, bytes), at);
      },
      submit: unused,
    },
    createCommandEncoder: unused,
    createBuffer({ size }) {
      made++;
      const buffer: GpuBuffer = {
        ...{ size, mapAsync: unused, getMappedRange: unused, unmap: unused },
        destroy: () => void contents.delete(buffer),
      };
      contents.set(buffer, new Uint8Array(size).fill(0xee));
      return buffer;
    },
    destroy() {},
  };
  return { device, contents, made: () => made };
}

const SIZE = 4;
const [ROWS, GROUPS] = [2, 2];

it('are what the cache holds after any sequence of writes, whatever was copied in between', () => {
  const index = (most: number) => fc.nat({ max: most - 1 });
  const action = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(fc.constant('write'), index(ROWS), index(GROUPS), index(6), index(3)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('key'), index(ROWS), index(GROUPS), index(6), index(3)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('move'), index(ROWS), index(GROUPS), index(6), index(6)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('wipe'), index(ROWS), index(GROUPS), index(6), index(3)) },
    fc.tuple(fc.constantFrom('resize', 'fork', 'row', 'views'), index(ROWS), index(GROUPS), index(6), index(3)),
    { weight: 3, arbitrary: fc.tuple(fc.constant('copy'), index(1), index(1), index(1), index(1)) },
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
      const { device, contents } = fakeDevice();
      const replicas = new Replicas(device);
      const shape = { groups: GROUPS, keySize: SIZE, valueSize: SIZE };
      let buffer: SlotBuffer = createBuffer('float32', ROWS, shape);
      buffer.resize(ROWS, 9);
      // Forks keep the content that they had.
      const forks: SlotBuffer[] = [];
      let count = 0;
      const vectors = (n: number) => Float32Array.from({ length: n * SIZE }, () => ++count);
      const copy = () => {
        for (const { array } of [buffer, ...forks].flatMap(({ inputs }) => inputs)) {
          const data = array.data as Float32Array;
          const found = contents.get(replicas.update({ ...tensorOf(data, []), slots: array })!)!;
          expect(new Float32Array(found.buffer, 0, data.length)).toEqual(data);
        }
      };
      for (const [what, row, group, slot, n] of actions) {
        if (what === 'copy') copy();
        else if (what === 'fork') {
          forks.push(buffer);
          buffer = buffer.fork();
        } else if (what === 'resize') buffer.resize(ROWS, 9 + 4 * n);
        else {
          buffer.own();
          if (what === 'write') buffer.write({ row, group, slot }, n + 1, vectors(n + 1), 0, vectors(n + 1), 0);
          else if (what === 'key') buffer.writeKey({ row, group, slot }, vectors(1));
          else if (what === 'move') buffer.copySlot(buffer, row, group, slot, n);
          else if (what === 'wipe') buffer.wipe(row, group, slot, slot + n);
          else if (what === 'row') buffer.copyRow(buffer, row, 1 - row);
          else for (const view of buffer.slotViews(row, group, slot)) view.fill(++count);
        }
      }
      copy();
    }),
    { numRuns: 300, seed: 1 },
  );
});

it('copy only what a step has written', () => {
  const { device, made } = fakeDevice();
  const replicas = new Replicas(device);
  const buffer = createBuffer('float32', 1, { groups: GROUPS, keySize: SIZE, valueSize: SIZE });
  buffer.resize(1, 100);
  const update = () => {
    for (const { array } of buffer.inputs) replicas.update({ ...tensorOf(array.data, []), slots: array });
  };
  update();
  const all = replicas.copied;
  expect(all).toBe(2 * GROUPS * 100 * SIZE * 4);
  for (const group of range(GROUPS))
    buffer.write({ row: 0, group, slot: 7 }, 1, new Float32Array(SIZE), 0, new Float32Array(SIZE), 0);
  update();
  expect(replicas.copied - all).toBe(2 * GROUPS * SIZE * 4);
  update();
  expect(replicas.copied - all).toBe(2 * GROUPS * SIZE * 4);
  expect(made()).toBe(2);
});

it('are of float32 alone', () => {
  const { device } = fakeDevice();
  const replicas = new Replicas(device);
  for (const kind of Object.keys(BUFFERS) as (keyof typeof BUFFERS)[]) {
    const [{ array }] = createBuffer(kind, 1, { groups: 1, keySize: 32, valueSize: 32 }).inputs;
    expect(replicas.update({ ...tensorOf(array.data, []), slots: array }) !== null).toBe(kind === 'float32');
  }
});
