/**
 * Which matrices products read as they lie.
 */
import { expect, it } from 'vitest';
import { openGgml } from '../binding/binding.ts';
import type { Tensor } from '../memory/tensor.ts';
import { GraphMaker } from './graph-maker.ts';

const ggml = openGgml();
const [GROUPS, SLOTS, SIZE] = [2, 64, 8];

/** How many tensors a product with a part of some slots adds, the slice left out. */
function added(isDevice: boolean, part: (g: GraphMaker, slots: Tensor) => Tensor): number {
  const g = new GraphMaker(ggml, 20, isDevice);
  const keys = part(g, g.leaf('f32', [1, GROUPS, SLOTS, SIZE]));
  const queries = g.leaf('f32', [1, GROUPS, 3, SIZE]);
  const before = g.count;
  g.multiply(keys, queries);
  const count = g.count - before;
  g.context.dispose();
  return count;
}

it('a device multiplies copies where there are gaps between groups, rows or numbers', () => {
  expect(added(true, (_, slots) => slots)).toBe(1);
  expect(added(true, (g, slots) => g.slice(slots, 2, 0, SLOTS / 2))).toBe(2);
  expect(added(true, (g, slots) => g.slice(slots, 1, 0, 1))).toBe(1);
  expect(added(true, (g, slots) => g.transpose(g.transpose(slots, [0, 2, 1, 3]), [0, 2, 1, 3]))).toBe(1);
  expect(added(true, (g, slots) => g.transpose(g.reshape(slots, [1, GROUPS, SIZE, SLOTS]), [0, 1, 3, 2]))).toBe(2);
});

it('the CPU multiplies slots where they are', () => {
  expect(added(false, (_, slots) => slots)).toBe(1);
  expect(added(false, (g, slots) => g.slice(slots, 2, 0, SLOTS / 2))).toBe(1);
});
