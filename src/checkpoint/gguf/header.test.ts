import { describe, expect, it } from 'vitest';
import { f32Tensor, ggufFile, ggufStart } from '../../../test/support/gguf-bytes.ts';
import { bytesSource } from '../../../test/support/safetensors-bytes.ts';
import { CheckpointError } from '../../util/errors.ts';
import { readGgufHeader } from './header.ts';

const read = (bytes: Uint8Array) => readGgufHeader(bytesSource(bytes, 'test.gguf'));

async function refusal(bytes: Uint8Array): Promise<string> {
  const error = await read(bytes).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  return (error as Error).message;
}

/** A file with one tensor, described by hand. */
function withTensor(
  info: { name?: string; dims?: readonly (number | bigint)[]; type?: number; offset?: number | bigint },
  data = new Uint8Array(64),
): Uint8Array {
  const { name = 'a.weight', dims = [4, 4], type = 0, offset = 0 } = info;
  const file = ggufStart(1, 0).text(name).u32(dims.length);
  for (const dim of dims) file.u64(dim);
  return file.u32(type).u64(offset).pad(32).raw(data).done();
}

describe('a valid header', () => {
  it('gives metadata of every type, and tensors with the slowest axis first', async () => {
    const file = ggufFile(
      { 'general.architecture': 'llama', count: 7, ratio: 0.5, on: true, words: ['a', '', 'ü'], numbers: [1, 2.5] },
      { 'b.weight': f32Tensor([3, 2], [1, 2, 3, 4, 5, 6]), 'c.weight': f32Tensor([1], [7]) },
    );
    const { metadata, tensors, version } = await read(file);
    expect(version).toBe(3);
    expect([...metadata.keys()]).toEqual(['general.architecture', 'count', 'ratio', 'on', 'words', 'numbers']);
    expect(metadata.get('count')).toBe(7);
    expect(metadata.get('ratio')).toBe(0.5);
    expect(metadata.get('on')).toBe(true);
    const values = (key: string) => (metadata.get(key) as { values(): unknown[] }).values();
    expect(values('words')).toEqual(['a', '', 'ü']);
    expect(values('numbers')).toEqual([1, 2.5]);
    expect(tensors.map(({ name, shape, bytes }) => [name, shape, bytes])).toEqual([
      ['b.weight', [2, 3], 24],
      ['c.weight', [1], 4],
    ]);
    expect(tensors[1].offset - tensors[0].offset).toBe(32);
  });

  it('numbers of all widths and signs', async () => {
    const file = ggufStart(0, 6);
    file.text('u8').u32(0).u8(200).text('i8').u32(1).u8(200);
    file
      .text('i64')
      .u32(11)
      .u64(2n ** 64n - 5n)
      .text('u64')
      .u32(10)
      .u64(2n ** 60n);
    file
      .text('i32')
      .u32(5)
      .u32(2 ** 32 - 1)
      .text('u64 small')
      .u32(10)
      .u64(12);
    const { metadata } = await read(file.raw(new Uint8Array(32)).done());
    expect(Object.fromEntries(metadata)).toEqual({
      u8: 200,
      i8: -56,
      i64: -5,
      u64: 2n ** 60n,
      i32: -1,
      'u64 small': 12,
    });
  });

  it('longer than the first read', async () => {
    const words = Array.from({ length: 60_000 }, (_, i) => `a word of some length, number ${i}`);
    const { metadata, tensors } = await read(ggufFile({ words }, { t: f32Tensor([1], [1]) }));
    expect((metadata.get('words') as { values(): unknown[] }).values()).toEqual(words);
    expect(tensors).toHaveLength(1);
  });
});

describe('a file that lies about itself is refused', () => {
  const start = (tensors: number | bigint, entries: number | bigint) =>
    ggufStart(tensors, entries).raw(new Uint8Array(64)).done();
  const entry = (type: number) => ggufStart(0, 1).text('key').u32(type);
  const u64Max = 2n ** 64n - 1n;
  const text = (content: string) => new TextEncoder().encode(content);
  /**
   * What llama.cpp was attacked with (integer overflows of counts, lengths, sizes and offsets), and what else is wrong.
   */
  const CASES: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['empty', new Uint8Array(), /too few/],
    ['no magic', new Uint8Array(64), /does not begin with "GGUF"/],
    ['a pointer of Git LFS', text('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'), /git lfs pull/],
    ['a web page', text('<!DOCTYPE html><html><title>404</title></html>'), /is a web page/],
    ['version 1', ggufStart(0, 0, 1).done(), /version 1/],
    ['big-endian', ggufStart(0, 0, 0x03000000).done(), /big-endian/],
    ['count of tensors beyond the file', start(1e9, 0), /1000000000 tensors/],
    ['count of tensors beyond 2^53', start(u64Max, 0), /too large/],
    ['count of entries beyond the file', start(0, 1e9), /metadata entries/],
    ['count of entries whose product with their size overflows', start(0, 2n ** 61n), /too large/],
    [
      'length of a key',
      ggufStart(0, 1)
        .u64(2n ** 63n)
        .raw(new Uint8Array(32))
        .done(),
      /too large/,
    ],
    ['length of a key beyond the file', ggufStart(0, 1).u64(1e6).raw(new Uint8Array(32)).done(), /1000000 bytes/],
    [
      'length of a text',
      entry(8)
        .u64(2n ** 40n)
        .raw(new Uint8Array(32))
        .done(),
      /bytes follow/,
    ],
    ['length of a text of -1', entry(8).u64(u64Max).raw(new Uint8Array(32)).done(), /too large/],
    ['a key that is no UTF-8', ggufStart(0, 1).u64(1).u8(255).u32(0).u32(0).done(), /not valid UTF-8/],
    ['an unknown type of entry', entry(99).u64(0).done(), /unknown type 99/],
    ['a bool of 2', entry(7).u8(2).raw(new Uint8Array(8)).done(), /bool of value 2/],
    ['an array of arrays', entry(9).u32(9).u64(1).u64(0).done(), /array of arrays/],
    ['an array of an unknown type', entry(9).u32(42).u64(1).u64(0).done(), /unknown type 42/],
    [
      'elements of an array',
      entry(9)
        .u32(10)
        .u64(2n ** 61n)
        .done(),
      /too large/,
    ],
    [
      'elements of an array beyond the file',
      entry(9)
        .u32(10)
        .u64(2n ** 40n)
        .done(),
      /elements in metadata entry/,
    ],
    [
      'elements of an array of texts',
      entry(9)
        .u32(8)
        .u64(2n ** 40n)
        .done(),
      /elements in metadata entry/,
    ],
    [
      'a text of an array',
      entry(9)
        .u32(8)
        .u64(1)
        .u64(2n ** 50n)
        .done(),
      /bytes follow/,
    ],
    ['two entries of one key', ggufStart(0, 2).text('k').u32(4).u32(1).text('k').u32(4).u32(1).done(), /two metadata/],
    ['alignment 0', ggufFile({ 'general.alignment': 0 }), /power of two/],
    ['alignment 3', ggufFile({ 'general.alignment': 3 }), /power of two/],
    ['alignment 2^31', ggufFile({ 'general.alignment': 2 ** 31 }), /power of two/],
    ['alignment that is text', ggufFile({ 'general.alignment': '32' }), /power of two/],
    ['a tensor without a name', withTensor({ name: '' }), /has no name/],
    ['a tensor with a name of 1000 bytes', withTensor({ name: 'x'.repeat(1000) }), /above the limit/],
    ['no dimensions', withTensor({ dims: [] }), /0 dimensions/],
    ['five dimensions', withTensor({ dims: [1, 1, 1, 1, 1] }), /5 dimensions/],
    ['a dimension of 0', withTensor({ dims: [4, 0] }), /holds nothing/],
    ['a dimension beyond 2^53', withTensor({ dims: [2n ** 63n, 2] }), /too large/],
    ['a product of dimensions that is 0 modulo 2^64', withTensor({ dims: [2n ** 32n, 2n ** 32n] }), /too large/],
    ['such a product, hidden by a 0', withTensor({ dims: [2n ** 50n, 2n ** 50n, 0] }), /too large/],
    ['a tensor beyond the file', withTensor({ dims: [1000, 1000] }), /ends at byte/],
    ['an unknown type of tensor', withTensor({ type: 4 }), /has the type 4/],
    ['a type beyond all', withTensor({ type: 2 ** 31 }), /has the type/],
    ['rows of no whole blocks', withTensor({ dims: [16, 2], type: 2 }), /no whole blocks of 32/],
    ['an offset that is not aligned', withTensor({ offset: 4 }, new Uint8Array(128)), /no multiple of the alignment/],
    ['an offset beyond the file', withTensor({ offset: 2 ** 40 }), /ends at byte/],
    ['an offset that overflows', withTensor({ offset: u64Max - 31n }), /too large/],
  ];
  it.each(CASES)('%s', async (_, bytes, message) => {
    expect(await refusal(bytes)).toMatch(message);
  });

  it('tensors of one name, or on top of each other', async () => {
    const twice = (name: string, offset: number) =>
      ggufStart(2, 0)
        .text('a')
        .u32(1)
        .u64(16)
        .u32(0)
        .u64(0)
        .text(name)
        .u32(1)
        .u64(16)
        .u32(0)
        .u64(offset)
        .pad(32)
        .raw(new Uint8Array(128))
        .done();
    expect(await refusal(twice('a', 64))).toMatch(/two tensors "a"/);
    expect(await refusal(twice('b', 32))).toMatch(/overlaps/);
    expect((await read(twice('b', 64))).tensors).toHaveLength(2);
  });

  it('cut off anywhere', async () => {
    const file = ggufFile({ a: 'text', list: ['x', 'y'] }, { t: f32Tensor([8], [1, 2, 3, 4, 5, 6, 7, 8]) });
    for (let length = 0; length < file.length; length++)
      expect(await refusal(file.slice(0, length)), `${length} bytes`).not.toBe('');
  });
});
