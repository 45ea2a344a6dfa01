/**
 * @file Writes a GGUF file of a given shape with random 4-bit weights (Q4_0), for llama.cpp to load.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import { layout, type ShapeConfig } from './shapes.ts';

const ALIGNMENT = 32;

/** Types of metadata values. */
const U32 = 4;
const I32 = 5;
const F32 = 6;
const STRING = 8;
const ARRAY = 9;

/** Types of tensors. */
const TENSOR_F32 = 0;
const TENSOR_Q4_0 = 2;

/** A Q4_0 block: one float16 scale, then 32 quants of 4 bits. */
const BLOCK_VALUES = 32;
const BLOCK_BYTES = 18;

/** 2^-8 in float16: with uniform quants of -8 to 7 the values' standard deviation is 0.018. */
const SCALE = 0x1c00;

/** How many random blocks are made; a tensor repeats them. A prime, so that its rows differ. */
const BLOCKS = 65_537;

/** Writes the file and returns its size in bytes. */
export function writeGguf(path: string, config: ShapeConfig): number {
  const tensors = layout(config).map(({ gguf, shape }) => ({ name: gguf, shape }));
  if (config.rope_scaling) tensors.push({ name: 'rope_freqs.weight', shape: [config.head_dim / 2] });

  let offset = 0;
  const infos = tensors.map(({ name, shape }) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const quantised = shape.length > 1;
    const info = { name, shape, quantised, offset, bytes: quantised ? (size / BLOCK_VALUES) * BLOCK_BYTES : size * 4 };
    offset += align(info.bytes);
    return info;
  });

  const metadata = describe(config);
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(infos.length),
    u64(metadata.length),
    ...metadata,
    ...infos.map((t) =>
      Buffer.concat([
        text(t.name),
        u32(t.shape.length),
        ...[...t.shape].reverse().map(u64),
        u32(t.quantised ? TENSOR_Q4_0 : TENSOR_F32),
        u64(t.offset),
      ]),
    ),
  ]);

  const blocks = randomBlocks();
  const file = openSync(path, 'w');
  try {
    writeAll(file, pad(head));
    for (const t of infos) {
      if (t.quantised) {
        for (let done = 0; done < t.bytes; done += blocks.length) {
          writeAll(file, blocks.subarray(0, Math.min(blocks.length, t.bytes - done)));
        }
        writeAll(file, Buffer.alloc(align(t.bytes) - t.bytes));
      } else {
        const values = t.name === 'rope_freqs.weight' ? ropeFactors(config) : new Float32Array(t.bytes / 4).fill(1);
        writeAll(file, pad(floats(values)));
      }
    }
  } finally {
    closeSync(file);
  }
  return align(head.length) + offset;
}

/** The metadata: hyperparameters, and the least that passes for a SentencePiece tokenizer. */
function describe(config: ShapeConfig): Buffer[] {
  const arch = config.model_type;
  const tokens = ['<unk>', '<s>', '</s>'];
  for (let byte = 0; byte < 256; byte++) tokens.push(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const bytes = tokens.length;
  while (tokens.length < config.vocab_size) tokens.push(`▁t${tokens.length}`);
  // 1 normal, 2 unknown, 3 control, 6 byte
  const types = tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < bytes ? 6 : 1));

  const string = (key: string, value: string) => Buffer.concat([text(key), u32(STRING), text(value)]);
  const int = (key: string, value: number) => Buffer.concat([text(key), u32(U32), u32(value)]);
  const float = (key: string, value: number) => Buffer.concat([text(key), u32(F32), floats([value])]);
  const array = (key: string, type: number, length: number, items: Buffer) =>
    Buffer.concat([text(key), u32(ARRAY), u32(type), u64(length), items]);
  return [
    string('general.architecture', arch),
    string('general.name', 'random weights'),
    int('general.file_type', 2),
    int(`${arch}.context_length`, config.max_position_embeddings),
    int(`${arch}.embedding_length`, config.hidden_size),
    int(`${arch}.block_count`, config.num_hidden_layers),
    int(`${arch}.feed_forward_length`, config.intermediate_size),
    int(`${arch}.attention.head_count`, config.num_attention_heads),
    int(`${arch}.attention.head_count_kv`, config.num_key_value_heads),
    int(`${arch}.attention.key_length`, config.head_dim),
    int(`${arch}.attention.value_length`, config.head_dim),
    float(`${arch}.attention.layer_norm_rms_epsilon`, config.rms_norm_eps),
    int(`${arch}.rope.dimension_count`, config.head_dim),
    float(`${arch}.rope.freq_base`, config.rope_theta),
    int(`${arch}.vocab_size`, config.vocab_size),
    string('tokenizer.ggml.model', 'llama'),
    array('tokenizer.ggml.tokens', STRING, tokens.length, Buffer.concat(tokens.map(text))),
    array('tokenizer.ggml.scores', F32, tokens.length, floats(tokens.map((_, id) => -id))),
    array('tokenizer.ggml.token_type', I32, types.length, Buffer.from(Int32Array.from(types).buffer)),
    int('tokenizer.ggml.bos_token_id', 1),
    int('tokenizer.ggml.eos_token_id', 2),
    int('tokenizer.ggml.unknown_token_id', 0),
  ];
}

/** What each rotary frequency is divided by (Llama 3's scaling), as llama.cpp's converter stores it. */
function ropeFactors(config: ShapeConfig): Float32Array {
  const scaling = config.rope_scaling!;
  const low = scaling.original_max_position_embeddings / scaling.low_freq_factor;
  const high = scaling.original_max_position_embeddings / scaling.high_freq_factor;
  return Float32Array.from({ length: config.head_dim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * config.rope_theta ** ((2 * i) / config.head_dim);
    if (wavelength < high) return 1;
    if (wavelength > low) return scaling.factor;
    const smooth =
      (scaling.original_max_position_embeddings / wavelength - scaling.low_freq_factor) /
      (scaling.high_freq_factor - scaling.low_freq_factor);
    return 1 / ((1 - smooth) / scaling.factor + smooth);
  });
}

function randomBlocks(): Buffer {
  const out = Buffer.alloc(BLOCKS * BLOCK_BYTES);
  let state = 1;
  for (let i = 0; i < out.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    out[i] = state >>> 24;
  }
  for (let i = 0; i < out.length; i += BLOCK_BYTES) out.writeUInt16LE(SCALE, i);
  return out;
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(align(bytes.length) - bytes.length)]);
}

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

function u64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function floats(values: ArrayLike<number>): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

/** `writeSync` may write less than it was given. */
function writeAll(file: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}
