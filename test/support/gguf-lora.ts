/**
 * @file A LoRA of random factors in GGUF, and the model that llama.cpp makes of it: factors are multiplied and added to
 * the file's own rows.
 */
import { readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { f32Tensor, ggufFile, type TestTensor } from './gguf-bytes.ts';
import { bytesSource } from './safetensors-bytes.ts';
import { seeded } from './seeded.ts';

const RANK = 2;
const ALPHA = 3.5;

/**
 * @param file of float32 values.
 * @param isChanged tells by its name whether a matrix is changed.
 */
export async function loraOf(file: Uint8Array, isChanged: (tensor: string) => boolean) {
  const { tensors, metadata } = await readGgufHeader(bytesSource(file, 'the base'));
  const merged = file.slice();
  const factors: Record<string, TestTensor> = {};
  const random = seeded(1);
  const floats = (count: number) => Array.from({ length: count }, () => (random(2001) - 1000) / 10_000);
  for (const { name, shape, offset } of tensors) {
    if (shape.length !== 2 || !isChanged(name)) continue;
    const [rows, cols] = shape;
    const a = floats(RANK * cols);
    const b = floats(rows * RANK);
    factors[`${name}.lora_a`] = f32Tensor([cols, RANK], a);
    factors[`${name}.lora_b`] = f32Tensor([RANK, rows], b);
    const values = new Float32Array(merged.buffer, offset, rows * cols);
    for (let row = 0; row < rows; row++)
      for (let col = 0; col < cols; col++)
        for (let i = 0; i < RANK; i++)
          values[row * cols + col] += (ALPHA / RANK) * b[row * RANK + i] * a[i * cols + col];
  }
  const entries = {
    'general.architecture': String(metadata.get('general.architecture')),
    'general.type': 'adapter',
    'adapter.type': 'lora',
    'adapter.lora.alpha': ALPHA,
  };
  return { adapter: ggufFile(entries, factors), merged };
}
