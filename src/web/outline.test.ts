import { expect, it } from 'vitest';
import { Outline } from './outline.ts';

it('keeps ranges of a file, and nothing else', () => {
  const content = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);
  const outline = new Outline();
  outline.set(0, content.subarray(0, 8));
  outline.set(500, content.subarray(500, 520));
  expect(outline.isChanged).toBe(true);
  const again = Outline.fromBytes(outline.toBytes());
  expect(again.isChanged).toBe(false);
  expect(again.get(0, 8)).toEqual(content.subarray(0, 8));
  expect(again.get(500, 20)).toEqual(content.subarray(500, 520));
  expect(again.get(100, 10)).toBeUndefined();
  expect(() => Outline.fromBytes(outline.toBytes().subarray(0, 40))).toThrow(/damaged/);
});
