/**
 * @file Damaged GGUF files: a small valid one with its bytes, counts, lengths and values changed. All must be read, or
 * refused by a typed error.
 */
import { buildGgufCheckpoint } from '../../src/checkpoint/gguf/checkpoint.ts';
import { KeyholdError } from '../../src/util/errors.ts';
import { f32Tensor, ggufFile, type TestTensor, type TestValue } from './gguf-bytes.ts';
import { bytesSource } from './safetensors-bytes.ts';

const LETTERS = ['<unk>', '<s>', '</s>', 'a', 'b', 'ab', '▁', '▁a', '<0x0A>', 'Ġ', 'Ġa', 'c'];

const METADATA: Readonly<Record<string, TestValue>> = {
  'general.architecture': 'llama',
  'general.alignment': 32,
  'llama.block_count': 1,
  'llama.context_length': 64,
  'llama.embedding_length': 4,
  'llama.feed_forward_length': 4,
  'llama.attention.head_count': 2,
  'llama.attention.head_count_kv': 1,
  'llama.rope.freq_base': 10000.5,
  'llama.attention.layer_norm_rms_epsilon': 1e-5,
  'tokenizer.ggml.pre': 'llama-bpe',
  'tokenizer.ggml.tokens': LETTERS,
  'tokenizer.ggml.scores': LETTERS.map((_, i) => -i - 0.5),
  'tokenizer.ggml.token_type': [2, 3, 3, 1, 1, 1, 1, 1, 6, 1, 1, 5],
  'tokenizer.ggml.merges': ['a b', 'Ġ a'],
  'tokenizer.ggml.bos_token_id': 1,
  'tokenizer.ggml.eos_token_id': 2,
  'tokenizer.ggml.add_bos_token': true,
  'tokenizer.chat_template': '{{ messages }}',
};

const matrix = (cols: number, rows: number): TestTensor =>
  f32Tensor(
    [cols, rows],
    Array.from({ length: cols * rows }, (_, i) => i / 16),
  );
const TENSORS: Readonly<Record<string, TestTensor>> = {
  'token_embd.weight': matrix(4, LETTERS.length),
  'output_norm.weight': f32Tensor([4], [1, 1, 1, 1]),
  'blk.0.attn_norm.weight': f32Tensor([4], [1, 1, 1, 1]),
  'blk.0.attn_q.weight': matrix(4, 4),
  'blk.0.attn_k.weight': matrix(4, 2),
  'blk.0.attn_v.weight': matrix(4, 2),
  'blk.0.attn_output.weight': matrix(4, 4),
  'blk.0.ffn_gate.weight': matrix(4, 4),
  'rope_freqs.weight': f32Tensor([1], [1]),
};

/** Values that were, or could be, taken for a size. */
const SIZES = [0n, 1n, 7n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 61n, 2n ** 63n, 2n ** 64n - 1n];

type Random = (below: number) => number;

/** A file with some damage. */
export function damagedGguf(random: Random): Uint8Array {
  const model = ['llama', 'gpt2', 't5', 'bert', 'gemma4', 'other'][random(6)];
  const metadata: Record<string, TestValue> = { ...METADATA, 'tokenizer.ggml.model': model };
  const keys = Object.keys(metadata);
  const names = Object.keys(TENSORS);
  const tensors: Record<string, TestTensor> = { ...TENSORS };
  // Damage to what the file says, before it is written.
  for (let i = random(3); i > 0; i--) {
    const key = keys[random(keys.length)];
    const values: readonly TestValue[] = [
      0,
      1,
      2 ** 32 - 1,
      0.1,
      1e30,
      '',
      'qwen3moe',
      true,
      [],
      ['x'],
      [1, 2],
      LETTERS,
    ];
    if (random(3) === 0) delete metadata[key];
    else metadata[key] = values[random(values.length)];
    if (random(4) === 0) delete tensors[names[random(names.length)]];
    if (random(4) === 0)
      tensors[`blk.${random(3)}.${['ffn_gate_exps', 'attn_q_norm', 'x'][random(3)]}.weight`] = matrix(4, 4);
  }
  const file = ggufFile(metadata, tensors);
  // Damage to its bytes.
  for (let i = random(4); i > 0; i--) {
    const at = random(file.length);
    switch (random(5)) {
      case 0:
        file[at] ^= 1 << random(8);
        break;
      case 1:
        file[at] = random(256);
        break;
      case 2:
        if (at + 8 <= file.length) new DataView(file.buffer).setBigUint64(at, SIZES[random(SIZES.length)], true);
        break;
      case 3:
        new DataView(file.buffer).setBigUint64(8 * (1 + random(2)), SIZES[random(SIZES.length)], true);
        break;
      default:
        return file.slice(0, at);
    }
  }
  return file;
}

/** Opens a file and all that is made of it. Gives what was refused; throws what is no typed error. */
export async function openDamaged(file: Uint8Array): Promise<string> {
  const source = bytesSource(file, 'damaged.gguf');
  try {
    const files = { name: 'damaged.gguf', list: async () => ['damaged.gguf'], open: async () => source };
    const checkpoint = await buildGgufCheckpoint(files, 'damaged.gguf');
    await checkpoint.readJson('tokenizer.json');
    await checkpoint.readJson('tokenizer_config.json');
    for (const tensor of checkpoint.tensors.values()) {
      const count = tensor.shape.reduce((a, b) => a * b, 1);
      await tensor.readFloats(0, count);
      await tensor.blocks?.read(0, 1);
    }
    return 'opened';
  } catch (error) {
    if (error instanceof KeyholdError) return error.message;
    throw error;
  }
}
