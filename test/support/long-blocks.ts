/**
 * @file Small models as GGUF files whose matrices are made of given blocks of 256 values, of the Python package gguf
 * (`test/fixtures/make/gguf_blocks.py`), and the same models in float32 with the values that the package gives these
 * blocks.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFileSource } from '../../src/checkpoint/file-source-node.ts';
import { type TensorType, tensorType } from '../../src/checkpoint/gguf/blocks/block-formats.ts';
import { readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { storedTensor } from '../../src/checkpoint/gguf/tensors.ts';
import { headerBytes, padded } from '../../src/checkpoint/gguf/write/header-bytes.ts';
import type { BlockRows } from '../../src/checkpoint/types.ts';
import { readConfig } from '../../src/families/read-config.ts';
import { ggufModelOf } from '../../src/load/convert/gguf-model.ts';
import { ggufTensors } from '../../src/load/convert/gguf-tensors.ts';
import { paramsOf } from '../../src/load/model-plan.ts';
import { FURTHER } from '../../src/model/further.ts';
import { concatRows } from '../../src/weights/rows.ts';
import type { ParamPart, RowSource } from '../../src/weights/types.ts';
import { configJson } from './family-cases.ts';
import type { ARCHITECTURES } from './gguf-blocks.ts';
import { seeded } from './seeded.ts';

// Configs are traced as they are, without a plan.

const FILE = join(import.meta.dirname, '../fixtures/gguf/long-blocks.gguf');
/** Values of a row of {@link FILE}. */
const WIDTH = 256;

/** 256 values as blocks. */
interface KnownBlocks {
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

/** The blocks of each format. */
export async function knownBlocks(): Promise<ReadonlyMap<BlockRows['format'], readonly KnownBlocks[]>> {
  const source = await openFileSource(FILE);
  const { tensors } = await readGgufHeader(source);
  const known = new Map<BlockRows['format'], KnownBlocks[]>();
  for (const info of tensors) {
    const { blocks } = storedTensor(source, info);
    const expected = tensors.find(({ name }) => name === `${info.name}.expected`);
    if (!blocks || !expected) continue;
    const rows: KnownBlocks[] = [];
    for (let row = 0; row < info.shape[0]; row++)
      rows.push({
        bytes: await blocks.read(row, 1),
        values: await storedTensor(source, expected).readFloats(row * WIDTH, WIDTH),
      });
    known.set(blocks.format, rows);
  }
  await source.close();
  return known;
}

const WIDE = { hidden_size: WIDTH, intermediate_size: WIDTH };
const HEADS = { num_attention_heads: 4, head_dim: 64 };

/** What differs from the case's config.json, so that rows have 256 values. */
const CHANGES: Readonly<Record<(typeof ARCHITECTURES)[number], object>> = {
  llama: { ...WIDE, ...HEADS, num_hidden_layers: 1 },
  mixtral: { ...WIDE, num_hidden_layers: 1, num_local_experts: 2 },
  gemma3: { ...WIDE, ...HEADS, num_hidden_layers: 2, layer_types: ['sliding_attention', 'full_attention'] },
  phi3: { ...WIDE, num_hidden_layers: 1 },
  gpt2: { n_embd: WIDTH, n_inner: WIDTH, n_layer: 1 },
  bloom: { hidden_size: WIDTH, n_layer: 1 },
  granitemoe: { ...WIDE, num_hidden_layers: 1, num_local_experts: 2, attention_multiplier: 0.125 },
  olmo2: { ...WIDE, num_hidden_layers: 1 },
  deepseek_v2: {
    ...WIDE,
    ...{ num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 2, n_routed_experts: 4 },
    ...{ moe_intermediate_size: WIDTH, q_lora_rank: WIDTH, kv_lora_rank: WIDTH },
    ...{ qk_nope_head_dim: WIDTH, qk_rope_head_dim: 32, qk_head_dim: WIDTH + 32, head_dim: 32, v_head_dim: 128 },
  },
  jamba: { ...WIDE, num_hidden_layers: 2, num_experts: 2, mamba_expand: 1, mamba_dt_rank: WIDTH },
  gpt_oss: { ...WIDE, ...HEADS, num_hidden_layers: 1, num_local_experts: 2, layer_types: ['full_attention'] },
  qwen3_next: {
    ...WIDE,
    ...HEADS,
    ...{ num_hidden_layers: 2, layer_types: ['linear_attention', 'full_attention'], mlp_only_layers: [] },
    ...{ linear_key_head_dim: 64, linear_value_head_dim: 64, num_experts: 2 },
    ...{ moe_intermediate_size: WIDTH, shared_expert_intermediate_size: WIDTH },
  },
};

/** Writes the model once with the blocks and once with their values. @returns how many tensors have blocks */
export async function writeBlockModels(
  name: (typeof ARCHITECTURES)[number],
  known: readonly KnownBlocks[],
  blocks: { readonly path: string; readonly format: BlockRows['format'] },
  floats: string,
): Promise<number> {
  const { config } = readConfig({ ...configJson(name), ...CHANGES[name] });
  const facts = ggufModelOf(config, name);
  const source = ({ parts }: { readonly parts: readonly ParamPart[] }) => concatRows(parts.map(randomRows));
  const tensors = ggufTensors(
    config,
    { specs: paramsOf({ config, format: 'float32', parts: FURTHER }), source },
    facts,
  );
  const random = seeded(tensors.length);
  const f32 = tensorType('f32');
  const own = { type: tensorType(blocks.format), contents: [] as Uint8Array[] };
  const plain: Uint8Array[] = [];
  const types: TensorType[] = [];
  for (const { rows, role } of tensors) {
    const isMade = role !== 'exact' && rows.cols % WIDTH === 0;
    types.push(isMade ? own.type : f32);
    const values = isMade ? new Float32Array(rows.rows * rows.cols) : await rows.read(0, rows.rows);
    plain.push(bytesOf(values));
    if (!isMade) {
      own.contents.push(bytesOf(values));
      continue;
    }
    const parts = Array.from({ length: values.length / WIDTH }, () => known[random(known.length)]);
    for (const [i, part] of parts.entries()) values.set(part.values, i * WIDTH);
    own.contents.push(Buffer.concat(parts.map(({ bytes }) => bytes)));
  }
  const infos = tensors.map(({ name: tensor, shape }, i) => ({ name: tensor, shape, type: types[i] }));
  const metadata = new Map(facts.entries).set('tokenizer.ggml.model', { type: 'text', value: 'no_vocab' });
  await writeParts(blocks.path, [headerBytes(metadata, infos), ...own.contents]);
  await writeParts(floats, [
    headerBytes(
      metadata,
      infos.map((info) => ({ ...info, type: f32 })),
    ),
    ...plain,
  ]);
  return types.filter((type) => type !== f32).length;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Values around 0, of norms around 1; those of one name are the same. */
function randomRows({ name, rows, cols }: ParamPart): RowSource {
  const center = /norm|ln_f/.test(name) ? 1 : 0;
  const random = seeded([...name].reduce((sum, letter) => 31 * sum + letter.charCodeAt(0), 7) | 0);
  // Those of matrices are never read.
  let values: Float32Array | undefined;
  const read = async (start: number, count: number) => {
    values ??= new Float32Array(rows * cols).map(() => center + (random(1001) - 500) / 2000);
    return values.slice(start * cols, (start + count) * cols);
  };
  return { rows, cols, read };
}

async function writeParts(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const file = await open(path, 'w');
  for (const part of parts) {
    await file.write(part);
    await file.write(new Uint8Array(padded(part.length) - part.length));
  }
  await file.close();
}
