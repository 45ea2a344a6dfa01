/**
 * What other readers of GGUF were attacked with. Each test is named after the public report: a file like it is refused
 * by a typed error, before anything is allocated by what it says.
 */
import { describe, expect, it } from 'vitest';
import { type Bytes, f32Tensor, ggufFile, ggufStart, type TestValue } from '../../../test/support/gguf-bytes.ts';
import { bytesSource } from '../../../test/support/safetensors-bytes.ts';
import { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { CheckpointError, KeyholdError } from '../../util/errors.ts';
import { readGgufHeader } from './header.ts';
import { Metadata } from './metadata.ts';
import { asHuggingFace } from './model.ts';
import { storedTensor } from './tensors.ts';
import { readVocabulary } from './tokenizer/read-vocabulary.ts';
import { ggufTokenizerConfig, ggufTokenizerJson } from './tokenizer/tokenizer-json.ts';

const U64_MAX = 2n ** 64n - 1n;
const DATA = new Uint8Array(256);

async function refusal(bytes: Uint8Array): Promise<string> {
  const before = process.memoryUsage().arrayBuffers;
  const error = await readGgufHeader(bytesSource(bytes, 'x.gguf')).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  return (error as Error).message;
}

interface Info {
  readonly dims: readonly (number | bigint)[];
  readonly type?: number;
  readonly offset?: number | bigint;
}

function withTensors(...infos: readonly Info[]): Uint8Array {
  const file = ggufStart(infos.length, 0);
  infos.forEach(({ dims, type = 0, offset = 0 }, i) => {
    file.text(`t${i}`).u32(dims.length);
    for (const dim of dims) file.u64(dim);
    file.u32(type).u64(offset);
  });
  return file.pad(32).raw(DATA).done();
}

/** One entry of metadata whose value is written by hand. */
const withEntry = (type: number, value: (file: Bytes) => Bytes, key = 'key'): Uint8Array =>
  value(ggufStart(0, 1).text(key).u32(type)).raw(DATA).done();

describe('headers', () => {
  const CASES: readonly (readonly [string, Uint8Array, RegExp])[] = [
    [
      'CVE-2024-23496: the length of a text is taken for a size (TALOS-2024-1913)',
      withEntry(8, (f) => f.u64(U64_MAX)),
      /too large/,
    ],
    ['CVE-2024-25665: such a length, with one added, is 0', ggufStart(0, 1).u64(U64_MAX).raw(DATA).done(), /too large/],
    [
      'CVE-2024-21802: more dimensions than there is memory for (TALOS-2024-1914)',
      withTensors({ dims: new Array<number>(64).fill(1) }),
      /64 dimensions/,
    ],
    [
      'CVE-2024-21836: the number of tensors, times their size, overflows (TALOS-2024-1915)',
      ggufStart(2n ** 60n + 1n, 0)
        .raw(DATA)
        .done(),
      /too large/,
    ],
    ['CVE-2024-25666: a number of tensors beyond the file', ggufStart(0x7fffffff, 0).raw(DATA).done(), /tensors/],
    [
      'CVE-2024-23605: the number of entries, times their size, overflows (TALOS-2024-1916)',
      ggufStart(0, 2n ** 59n + 1n)
        .raw(DATA)
        .done(),
      /too large/,
    ],
    ['CVE-2024-25664: a number of entries beyond the file', ggufStart(0, 0x7fffffff).raw(DATA).done(), /entries/],
    [
      'CVE-2024-21825: the number of texts of an array, times their size, overflows (TALOS-2024-1912)',
      withEntry(9, (f) => f.u32(8).u64(2n ** 60n + 1n)),
      /too large/,
    ],
    ['CVE-2024-25668: texts of an array beyond the file', withEntry(9, (f) => f.u32(8).u64(0x7fffffff)), /elements/],
    [
      'CVE-2024-25667: the number of elements of an array, times their size, overflows',
      withEntry(9, (f) => f.u32(12).u64(2n ** 61n + 1n)),
      /too large/,
    ],
    [
      'CVE-2024-32878: reading stops within an entry whose memory was not set yet',
      ggufStart(0, 3).text('a').u32(8).text('b').text('c').u32(9).u32(77).u64(1).raw(DATA).done(),
      /unknown type 77/,
    ],
    [
      'CVE-2025-53630: the sizes of all tensors together overflow',
      withTensors(
        { dims: [2n ** 52n], type: 24 },
        { dims: [2n ** 52n], type: 24, offset: 2n ** 52n },
        { dims: [2n ** 52n], type: 24, offset: 2n ** 53n - 32n },
      ),
      /too large/,
    ],
    [
      'CVE-2025-53630, with sizes that are allowed each',
      withTensors({ dims: [2n ** 49n], type: 24 }, { dims: [2n ** 49n], type: 24, offset: 2n ** 49n }),
      /ends at byte/,
    ],
    [
      'CVE-2026-27940: the number of tensors, times what describes one, overflows after it was checked',
      ggufStart(U64_MAX / 368n, 0)
        .raw(DATA)
        .done(),
      /too large/,
    ],
    [
      'CVE-2026-33298: the size of a tensor, by the strides of its rows, is 0 modulo 2^64',
      withTensors({ dims: [1152, 2n ** 42n + 1n], type: 8 }),
      /too large|ends at byte/,
    ],
    ['llama.cpp #19856: a negative type of tensor', withTensors({ dims: [4], type: 2 ** 32 - 1 }), /has the type/],
    ['llama.cpp #19856: two entries of one key', twice('general.alignment'), /two metadata/],
    ['llama.cpp #19856: a negative alignment', withAlignment(5, 2 ** 32 - 32), /power of two/],
    ['llama.cpp #24997: an alignment of 2^31', withAlignment(4, 2 ** 31), /power of two/],
    ['llama.cpp #26318: an alignment of another type', withAlignment(6, 0x42000001), /power of two/],
    [
      'llama.cpp #15711: tensors of 24 bytes that are taken for larger ones',
      ggufStart(2n ** 63n - 1n, 0)
        .raw(DATA)
        .done(),
      /too large/,
    ],
    ['an array within arrays without end', withEntry(9, nested), /array of arrays/],
    ['a negative number of dimensions', withTensors2(2 ** 32 - 1), /dimensions/],
    [
      'an offset behind the file, negative as a signed number',
      withTensors({ dims: [4], offset: 2n ** 63n }),
      /too large/,
    ],
    ['two tensors in one place', withTensors({ dims: [16] }, { dims: [16] }), /overlaps/],
  ];
  it.each(CASES)('%s', async (_, bytes, message) => {
    expect(await refusal(bytes)).toMatch(message);
  });

  function twice(key: string): Uint8Array {
    return ggufStart(0, 2).text(key).u32(4).u32(32).text(key).u32(4).u32(32).raw(DATA).done();
  }
  function withAlignment(type: number, value: number): Uint8Array {
    return withEntry(type, (f) => f.u32(value), 'general.alignment');
  }
  function nested(file: Bytes): Bytes {
    for (let i = 0; i < 1000; i++) file.u32(9).u64(1);
    return file;
  }
  function withTensors2(rank: number): Uint8Array {
    return ggufStart(1, 0).text('t').u32(rank).raw(DATA).done();
  }
});

describe('metadata of models', () => {
  const LLAMA: Readonly<Record<string, TestValue>> = {
    'general.architecture': 'llama',
    'llama.block_count': 1,
    'llama.embedding_length': 8,
    'llama.feed_forward_length': 8,
    'llama.attention.head_count': 2,
    'llama.attention.layer_norm_rms_epsilon': 0.00001,
  };
  it.each([
    ['llama.cpp #25821: more layers than there is memory for', { 'llama.block_count': 513_000 }, /block_count/],
    ['no layers', { 'llama.block_count': 0 }, /block_count/],
    ['no heads, by which sizes are divided', { 'llama.attention.head_count': 0 }, /head_count.* is 0/],
    ['layers that only draft, and no others', { 'llama.nextn_predict_layers': 7 }, /block_count/],
    ['a number of heads that is text', { 'llama.attention.head_count': '2' }, /must be a whole number/],
    [
      'heads of fewer layers than there are',
      { 'llama.block_count': 4, 'llama.attention.head_count': [1, 2] },
      /4 numbers/,
    ],
    ['a size beyond all models', { 'llama.embedding_length': 2 ** 31 }, /whole number from 1 to/],
  ] as const)('%s', async (_, own, message) => {
    const source = bytesSource(ggufFile({ ...LLAMA, ...own }, { 'token_embd.weight': f32Tensor([8, 1], DATA8) }), 'x');
    const header = await readGgufHeader(source);
    const tensors = new Map(header.tensors.map((info) => [info.name, storedTensor(source, info)]));
    await expect(asHuggingFace(new Metadata(header.metadata, 'x'), tensors, 'x')).rejects.toThrow(message);
    await expect(asHuggingFace(new Metadata(header.metadata, 'x'), tensors, 'x')).rejects.toBeInstanceOf(
      CheckpointError,
    );
  });
  const DATA8 = new Array<number>(8).fill(0);
});

describe('vocabularies', () => {
  async function tokenizer(own: Record<string, TestValue>): Promise<Tokenizer> {
    const metadata = { 'general.architecture': 'llama', 'tokenizer.ggml.model': 'llama', ...own };
    const header = await readGgufHeader(bytesSource(ggufFile(metadata), 'x.gguf'));
    const vocabulary = readVocabulary(new Metadata(header.metadata, 'x.gguf'), 'llama')!;
    return Tokenizer.fromJson(ggufTokenizerJson(vocabulary), ggufTokenizerConfig(vocabulary));
  }
  const tokens = (extra: readonly string[]) => ({
    'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', '▁', 'a', ...extra],
    'tokenizer.ggml.scores': [0, 0, 0, -1, -2, ...extra.map((_, i) => -3 - i)],
    'tokenizer.ggml.token_type': [2, 3, 3, 1, 1, ...extra.map((token) => (token.startsWith('<0x') ? 6 : 1))],
    'tokenizer.ggml.unknown_token_id': 0,
  });

  it('llama.cpp #26511: tokens of bytes that are none: <0x-1>, <0xGG>, <0x100>', async () => {
    const made = await tokenizer(tokens(['<0x-1>', '<0xGG>', '<0x100>', '<0x61>']));
    const ids = made.encode('a b');
    expect(ids.every((id) => id >= 0 && id < 9)).toBe(true);
    expect(made.decode([5, 6, 7])).toBeTypeOf('string');
  });

  it('CVE-2025-49847: a token longer than the memory that it is copied to. The ways to make it are not looked for: there are as many as letters', async () => {
    const long = 'x'.repeat(2 ** 21);
    const made = await tokenizer(tokens([long]));
    expect(made.decode([5], { skipSpecialTokens: false })).toBe(long);
  });

  it('ids of tokens that there are not, and lists of other lengths', async () => {
    const made = await tokenizer({
      ...tokens([]),
      'tokenizer.ggml.bos_token_id': 2 ** 31,
      'tokenizer.ggml.eos_token_id': 99,
    });
    expect(made.encode('a').every((id) => id < 5)).toBe(true);
    for (const key of ['scores', 'token_type'])
      await expect(tokenizer({ ...tokens([]), [`tokenizer.ggml.${key}`]: [1] })).rejects.toBeInstanceOf(KeyholdError);
    await expect(tokenizer({ ...tokens([]), 'tokenizer.ggml.tokens': [1, 2] })).rejects.toBeInstanceOf(KeyholdError);
  });
});
