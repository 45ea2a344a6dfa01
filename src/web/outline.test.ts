import { expect, it } from 'vitest';
import { Outline } from './outline.ts';

it('keeps ranges of a file, and nothing else', () => {
  const content = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);
  const outline = new Outline();
  outline.set(0, content.subarray(0, 8));
  outline.set(500, content.subarray(500, 520));
  const again = Outline.fromBytes(outline.toBytes());
  expect(again.get(0, 8)).toEqual(content.subarray(0, 8));
  expect(again.get(500, 20)).toEqual(content.subarray(500, 520));
  expect(again.get(100, 10)).toBeUndefined();
  expect(() => Outline.fromBytes(outline.toBytes().subarray(0, 40))).toThrow(/damaged/);
});

it('is written where something was added since, also while it is written', async () => {
  const outline = new Outline();
  const written: number[] = [];
  const save = (meanwhile = () => {}) =>
    outline.save(async (bytes) => {
      meanwhile();
      written.push(bytes.length);
    });
  await save();
  expect(written).toEqual([]);
  outline.set(0, new Uint8Array(100));
  await save(() => outline.set(200, new Uint8Array(50)));
  await save();
  await save();
  expect(written).toHaveLength(2);
  expect(Outline.fromBytes(outline.toBytes()).get(200, 50)).toEqual(new Uint8Array(50));
  outline.set(300, new Uint8Array(1));
  await expect(outline.save(() => Promise.reject(new Error('full')))).rejects.toThrow('full');
  await save();
  expect(written).toHaveLength(3);
});
