import { describe, expect, it } from 'vitest';
import { f32Tensor, ggufFile, type TestValue } from '../../../test/support/gguf-bytes.ts';
import { bytesSource } from '../../../test/support/safetensors-bytes.ts';
import { CheckpointError } from '../../util/errors.ts';
import { readGgufHeader } from './header.ts';
import { Metadata } from './metadata.ts';
import { asHuggingFace } from './model.ts';
import { storedTensor } from './tensors.ts';

async function refusal(metadata: Record<string, TestValue>, tensor = 'blk.0.attn_q.weight'): Promise<string> {
  const source = bytesSource(ggufFile(metadata, tensor === '' ? {} : { [tensor]: f32Tensor([1], [1]) }), 'x.gguf');
  const header = await readGgufHeader(source);
  const tensors = new Map(header.tensors.map((info) => [info.name, storedTensor(source, info)]));
  const error = await asHuggingFace(new Metadata(header.metadata, 'x.gguf'), tensors, 'x.gguf').then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  return (error as Error).message;
}

describe('a GGUF file that is no model', () => {
  const type = 'general.type';
  const architecture = 'general.architecture';
  it.each([
    ['a LoRA', { [architecture]: 'llama', [type]: 'adapter' }, /is an adapter \(LoRA\), not a model/],
    ['a part that sees', { [architecture]: 'clip', [type]: 'mmproj' }, /that sees or hears .*language model/],
    ['one without a type', { [architecture]: 'clip' }, /that sees or hears/],
    ['statistics', { [architecture]: 'imatrix', [type]: 'imatrix' }, /imatrix\), not a model/],
    ['a control vector', { [architecture]: 'controlvector' }, /control vector, not a model/],
    [
      'of another architecture',
      { [architecture]: 'rwkv7' },
      /architecture "rwkv7" are not supported; supported are llama, qwen2/,
    ],
  ] as const)('%s is refused as what it is', async (_, metadata, message) => {
    expect(await refusal(metadata)).toMatch(message);
  });

  it('a vocabulary alone is refused', async () => {
    expect(await refusal({ [architecture]: 'llama', [type]: 'model' }, '')).toMatch(/holds no tensors, only metadata/);
  });
});
