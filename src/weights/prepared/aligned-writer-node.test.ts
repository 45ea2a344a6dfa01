import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { AlignedWriter } from './aligned-writer-node.ts';

const folder = await tempFolder('aligned');

it('writes what it is given, in any order and with gaps', async () => {
  const gaps = fc.constantFrom(0, 0, 7, 63, 5000);
  const lengths = fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.constantFrom(4095, 4096, 70_000, 2 ** 23 + 5));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(gaps, lengths), { maxLength: 8 }), fc.boolean(), async (pieces, isReversed) => {
      let end = 0;
      const ranges = pieces.map(([gap, length]) => {
        const start = end + gap;
        end = start + length;
        return { start, length };
      });
      const wanted = new Uint8Array(end);
      for (const { start, length } of ranges)
        for (let i = 0; i < length; i++) wanted[start + i] = (start + i * 7) & 255;
      const path = join(folder, 'file');
      const file = await open(path, 'w+');
      const writer = new AlignedWriter(file, end);
      for (const { start, length } of isReversed ? ranges.reverse() : ranges)
        await writer.write(wanted.slice(start, start + length), start);
      await writer.flush();
      await file.truncate(end);
      await file.close();
      expect(Buffer.compare(await readFile(path), wanted)).toBe(0);
    }),
    { numRuns: 40 },
  );
});

it('writes pieces of 8 MB at multiples of 8 MB', async () => {
  const writes: number[][] = [];
  const file = {
    write: async (_: Uint8Array, __: number, length: number, position: number) => {
      writes.push([position, length]);
      return { bytesWritten: length };
    },
  };
  const writer = new AlignedWriter(file as never, 2 ** 30);
  for (let i = 0; i < 9; i++) await writer.write(new Uint8Array(3_000_000), i * 3_000_064);
  await writer.flush();
  expect(writes.map(([position]) => position)).toEqual([0, 1, 2, 3].map((i) => i * 2 ** 23));
  expect(writes.reduce((sum, [, length]) => sum + length, 0)).toBe(9 * 3_000_064 - 64);
});
