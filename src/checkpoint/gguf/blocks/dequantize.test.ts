import { expect, it } from 'vitest';
import { openFileSource } from '../../file-source-node.ts';
import { readGgufHeader } from '../header.ts';
import { storedTensor } from '../tensors.ts';
import { tensorType } from './block-formats.ts';

const FILE = new URL('../../../../test/fixtures/gguf/blocks.gguf', import.meta.url).pathname;

it('every block format has exactly the values that the Python package gguf gives it', async () => {
  const source = await openFileSource(FILE);
  const { tensors } = await readGgufHeader(source);
  const byName = new Map(tensors.map((info) => [info.name, storedTensor(source, info)]));
  const formats = [...byName.keys()].filter((name) => !name.endsWith('.expected'));
  expect(formats).toHaveLength(26);
  for (const format of formats) {
    const tensor = byName.get(format)!;
    const wanted = byName.get(`${format}.expected`)!;
    expect(tensor.format).toBe(format);
    expect(tensor.shape, format).toEqual(wanted.shape);
    const count = wanted.shape[0] * wanted.shape[1];
    const expected = await wanted.readFloats(0, count);
    expect(await tensor.readFloats(0, count), format).toEqual(expected);
    // Any part, whole blocks or not.
    for (const [start, length] of [
      [1, 5],
      [31, 2],
      [count - 3, 3],
      [Math.floor(count / 2) - 1, 2],
      [7, count - 9],
      [0, 0],
    ])
      expect(await tensor.readFloats(start, length), `${format} ${start} ${length}`).toEqual(
        expected.slice(start, start + length),
      );
    // The same row out of its raw blocks.
    const { blocks } = tensor;
    expect(blocks?.format).toBe(format);
    const row = new Float32Array(wanted.shape[1]);
    tensorType(blocks!.format).dequantize(await blocks!.read(1, 1), row);
    expect(row, format).toEqual(expected.slice(wanted.shape[1]));
  }
  await source.close();
});
