import { describe, expect, it } from 'vitest';
import { bytesSource, f32, rawSafetensors, safetensorsFile } from '../../test/support/safetensors-bytes.ts';
import { CheckpointError, InputError } from '../util/errors.ts';
import { readSafetensors } from './safetensors.ts';

const parse = (bytes: Uint8Array) => readSafetensors(bytesSource(bytes));

async function refused(header: unknown, data: number, ...parts: string[]): Promise<void> {
  const error = await parse(rawSafetensors(header, new Uint8Array(data))).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(CheckpointError);
  const { message } = error as CheckpointError;
  expect(message).toMatch(/^test\.safetensors: /);
  for (const part of parts) expect(message).toContain(part);
}

describe('readSafetensors', () => {
  it('reads tensors in parts', async () => {
    const file = safetensorsFile({
      a: f32([2, 3], [1, 2, 3, 4, 5, 6]),
      scalar: { dtype: 'BF16', shape: [], bytes: Uint8Array.of(0x80, 0x3f) },
      empty: { dtype: 'I64', shape: [0, 4], bytes: new Uint8Array() },
    });
    const source = bytesSource(file);
    const { tensors } = await readSafetensors(source);
    expect([...tensors.keys()]).toEqual(['a', 'scalar', 'empty']);
    expect(tensors.get('a')).toMatchObject({ name: 'a', dtype: 'F32', shape: [2, 3] });
    source.bytesRead = 0;
    expect([...(await tensors.get('a')!.readFloats(2, 3))]).toEqual([3, 4, 5]);
    expect(source.bytesRead).toBe(12);
    expect([...(await tensors.get('scalar')!.readFloats(0, 1))]).toEqual([1]);
    expect(await tensors.get('empty')!.readFloats(0, 0)).toHaveLength(0);
  });

  it('reads tensors larger than one piece', async () => {
    const halves = new Uint16Array(9_000_001);
    for (let i = 0; i < halves.length; i++) halves[i] = i & 0x3fff;
    const bytes = new Uint8Array(halves.buffer);
    const { tensors } = await parse(safetensorsFile({ w: { dtype: 'BF16', shape: [halves.length], bytes } }));
    const floats = new Uint32Array((await tensors.get('w')!.readFloats(1, halves.length - 1)).buffer);
    expect(floats).toHaveLength(9_000_000);
    expect(floats.every((bits, i) => bits === ((i + 1) & 0x3fff) << 16)).toBe(true);
  });

  it('refuses to read outside of a tensor', async () => {
    const { tensors } = await parse(safetensorsFile({ a: f32([4], [1, 2, 3, 4]), b: f32([1], [5]) }));
    const a = tensors.get('a')!;
    for (const [start, count] of [
      [0, 5],
      [4, 1],
      [-1, 2],
      [0.5, 1],
      [0, Number.NaN],
      [Number.MAX_SAFE_INTEGER, 1],
    ]) {
      await expect(a.readFloats(start, count)).rejects.toThrow(InputError);
    }
    await expect(a.readFloats(3, 2)).rejects.toThrow(/"a"/);
  });

  it('accepts padding after the header, and a file without tensors', async () => {
    expect((await parse(rawSafetensors('{}   '))).tensors.size).toBe(0);
  });

  it('takes a tensor named __proto__ as any other', async () => {
    const { tensors } = await parse(
      rawSafetensors('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', Uint8Array.of(7)),
    );
    expect([...(await tensors.get('__proto__')!.readFloats(0, 1))]).toEqual([7]);
  });

  it('says what lies in place of a file that was not downloaded', async () => {
    const text = (content: string) => new TextEncoder().encode(content);
    await expect(parse(text('version https://git-lfs.github.com/spec/v1\n'))).rejects.toThrow(/git lfs pull/);
    await expect(parse(text('<!DOCTYPE html><html></html>'))).rejects.toThrow(/is a web page/);
  });

  it('refuses files that are cut off', async () => {
    const file = safetensorsFile({ a: f32([4], [1, 2, 3, 4]) });
    for (let length = 0; length < file.length; length++) {
      await expect(parse(file.slice(0, length))).rejects.toThrow(CheckpointError);
    }
    await expect(parse(file.slice(0, -1))).rejects.toThrow(
      /test\.safetensors: tensor "a" ends at byte 16 .* only 15 bytes/,
    );
  });

  it('refuses headers of impossible length without allocating them', async () => {
    for (const length of [2n ** 64n - 1n, 2n ** 53n, 100_000_001n, 90_000_000n, 3n]) {
      const file = rawSafetensors('{}');
      new DataView(file.buffer).setBigUint64(0, length, true);
      await expect(parse(file)).rejects.toThrow(/header of \d+ bytes/);
    }
  });

  it('refuses headers that are no JSON object in UTF-8', async () => {
    await refused('', 0, 'does not start');
    await refused('[]', 0, 'does not start');
    await refused(' {}', 0, 'does not start');
    await refused('\ufeff{}', 0, 'does not start');
    await refused('{"a":', 0, 'not valid JSON');
    await refused('{} x', 0, 'not valid JSON');
    await refused(`{"a":${'['.repeat(100_000)}`, 0, 'nested');
    const invalid = rawSafetensors('{"xx":1}');
    invalid[10] = 0xff;
    await expect(parse(invalid)).rejects.toThrow(/UTF-8/);
  });

  it('refuses names that occur twice', async () => {
    const entry = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}';
    await refused(`{"ab":${entry},"ab":${entry}}`, 1, 'two entries "ab"');
    await refused(`{"ab":${entry},"\\u0061b":${entry}}`, 1, 'two entries "ab"');
    await refused('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1, 'two entries "dtype"');
  });

  it('refuses metadata that are not strings', async () => {
    await refused({ __metadata__: { step: 5 } }, 0, '"step" is not a string');
    await refused({ __metadata__: ['pt'] }, 0, '__metadata__');
    await refused({ __metadata__: null }, 0, '__metadata__');
  });

  it('refuses entries that make no sense, naming the tensor', async () => {
    const good = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
    const w = (change: Record<string, unknown>) => ({ 'h.0.w': { ...good, ...change } });
    await refused({ 'h.0.w': 3 }, 8, '"h.0.w"');
    await refused({ 'h.0.w': null }, 8, '"h.0.w"');
    await refused(w({ dtype: undefined }), 8, '"h.0.w" has no dtype');
    await refused(w({ dtype: 'F4' }), 8, '"h.0.w" has the dtype "F4"', 'BF16');
    await refused(w({ dtype: 'toString' }), 8, 'dtype "toString"');
    await refused(w({ shape: [-2] }), 8, 'shape of tensor "h.0.w"');
    await refused(w({ shape: [1.5] }), 8, 'shape of tensor "h.0.w"');
    await refused(w({ shape: [2 ** 53] }), 8, 'shape of tensor "h.0.w"');
    await refused(w({ shape: '2' }), 8, 'shape of tensor "h.0.w"');
    await refused(w({ shape: Array(17).fill(1) }), 8, '17 dimensions');
    await refused(w({ shape: [2 ** 30, 2 ** 30] }), 8, 'too large');
    await refused(w({ shape: [2 ** 50, 2 ** 50, 0], data_offsets: [0, 0] }), 0, 'too large');
    await refused(w({ shape: [3] }), 8, 'has 8 bytes, but F32 [3] takes 12');
    await refused(w({ data_offsets: [0] }), 8, 'data_offsets of tensor "h.0.w"');
    await refused(w({ data_offsets: [0, 8, 8] }), 8, 'data_offsets of tensor "h.0.w"');
    await refused(w({ data_offsets: [-8, 0] }), 8, 'data_offsets of tensor "h.0.w"');
    await refused(w({ data_offsets: [8, 0] }), 8, 'before its start');
    await refused(w({ data_offsets: [4, 12] }), 8, 'ends at byte 12', 'only 8 bytes');
  });

  it('refuses overlaps and holes', async () => {
    const bytes = (begin: number, end: number) => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] });
    await refused({ a: bytes(0, 4), b: bytes(3, 8) }, 8, '"b" overlaps tensor "a"');
    await refused({ a: bytes(0, 4), b: bytes(0, 4) }, 4, 'overlaps');
    await refused({ a: bytes(0, 3), b: bytes(4, 8) }, 8, 'bytes 3 to 4', '"b"');
    await refused({ a: bytes(1, 8) }, 8, 'bytes 0 to 1');
    await refused({ a: bytes(0, 4) }, 8, 'last 4 bytes');
  });

  it('cuts and escapes what it quotes from the file', async () => {
    const error = await parse(rawSafetensors({ [`\x1b[31m${'x'.repeat(5000)}`]: 1 })).catch((e: Error) => e);
    expect((error as Error).message.length).toBeLessThan(500);
    expect((error as Error).message).not.toContain('\x1b');
  });
});
