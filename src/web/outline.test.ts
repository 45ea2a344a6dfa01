import { expect, it } from 'vitest';
import { Outline } from './outline.ts';

it('keeps what was read while a file was opened, and nothing else', async () => {
  const content = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);
  const outline = new Outline();
  let opening = true;
  const read = async (offset: number, length: number) => content.subarray(offset, offset + length);
  const source = outline.record({ name: 'x', size: 1000, read, close: async () => {} }, () => opening);
  await source.read(0, 8);
  await source.read(500, 20);
  opening = false;
  await source.read(100, 10);
  const again = Outline.fromBytes(outline.toBytes());
  expect(again.get(0, 8)).toEqual(content.subarray(0, 8));
  expect(again.get(500, 20)).toEqual(content.subarray(500, 520));
  expect(again.get(100, 10)).toBeUndefined();
  expect(() => Outline.fromBytes(outline.toBytes().subarray(0, 40))).toThrow(/delete the model/);
});
