/**
 * @file Writes a model of a given shape as exports for transformers.js are made on the Hub: keys and values as inputs
 * and outputs, and ONNX Runtime's fused operators, above all GroupQueryAttention. Weights have 4 bits
 * (`model_q4.onnx`), 8 bits with one scale for each row (`model_quantized.onnx`) or 32 (`model.onnx`).
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type ExternalData, GraphBuilder, MICROSOFT, type Value } from '../src/backends/onnx/builder.ts';
import {
  cast,
  gather,
  index,
  matmul,
  mul,
  neg,
  reshape,
  shapeOf,
  sigmoid,
  sub,
  transpose,
} from '../src/backends/onnx/ops.ts';
import type { Dim } from '../src/ops/shapes.ts';
import { BYTE_ZERO } from '../src/weights/formats/byte-rows.ts';
import { blockBytes, QUANT_BLOCK, quantizeRows } from '../src/weights/formats/quantize.ts';
import { ropeFactors } from './gguf.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import type { ShapeConfig } from './shapes.ts';

const BITS = 4;
/** MatMulNBits multiplies integers, which is fastest. Exports that do not say it multiply in float32. */
const ACCURACY_INT8 = 4;
const ALIGNMENT = 64;
/** The files by what transformers.js calls their weights. */
const FILES = { q4: 'model_q4.onnx', q8: 'model_quantized.onnx', fp32: 'model.onnx' } as const;
export type ExportDtype = keyof typeof FILES;

/** Bytes of external values; those of a quantized matrix are made together. */
interface Stored {
  readonly names: readonly (readonly string[])[];
  readonly make: () => Promise<readonly ArrayBufferView[]>;
}

/**
 * Writes the folder, with the random weights that the same seed gives our side.
 * @returns the size of the weights in bytes.
 * @throws Error for shapes whose graph is another than Llama's.
 */
export async function writeOnnx(
  folder: string,
  config: ShapeConfig,
  seed: number,
  dtype: ExportDtype = 'q4',
): Promise<number> {
  if (config.model_type !== 'llama')
    throw new Error(`exports for transformers.js are written for llama, not for ${config.model_type}`);
  const { graph, stored } = build(config, seed, dtype);
  const model = FILES[dtype];
  const data = `${model}_data`;
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  const places = new Map<string, ExternalData>();
  const file = openSync(join(folder, 'onnx', data), 'w');
  let offset = 0;
  try {
    for (const { names, make } of stored)
      for (const [i, view] of (await make()).entries()) {
        const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
        for (let done = 0; done < bytes.length; )
          done += writeSync(file, bytes, done, bytes.length - done, offset + done);
        for (const name of names[i]!) places.set(name, { location: data, offset, length: bytes.length });
        offset = Math.ceil((offset + bytes.length) / ALIGNMENT) * ALIGNMENT;
      }
  } finally {
    closeSync(file);
  }
  writeFileSync(
    join(folder, 'onnx', model),
    graph.serialize((name) => places.get(name)!),
  );
  // Without tokens that end a text: a random model may choose any at any time.
  const { eos_token_id: _, ...open } = config;
  writeFileSync(join(folder, 'config.json'), JSON.stringify(open));
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ bos_token_id: config.bos_token_id }));
  return offset;
}

function build(
  config: ShapeConfig,
  seed: number,
  dtype: ExportDtype,
): { graph: GraphBuilder; stored: readonly Stored[] } {
  const { hidden_size: E, intermediate_size: F, num_attention_heads: H, num_key_value_heads: G, head_dim: D } = config;
  const { vocab_size: V, rms_norm_eps, max_position_embeddings: positions } = config;
  const { tensors } = randomCheckpoint(config, seed);
  const g = new GraphBuilder();
  const stored: Stored[] = [];
  const epsilon = { float: rms_norm_eps };
  const read = (name: string) => {
    const tensor = tensors.get(`${name}.weight`)!;
    return tensor.readFloats(
      0,
      tensor.shape.reduce((a, b) => a * b, 1),
    );
  };

  /** A float32 value that is made when it is written. */
  const plain = (name: string, shape: readonly number[], make: () => Float32Array | Promise<Float32Array>): Value => {
    stored.push({ names: [[name]], make: async () => [await make()] });
    return g.external(name, 'float32', shape);
  };
  /** The rows of several matrices behind each other. */
  const rowsOf = async (parts: readonly string[], rows: number, cols: number): Promise<Float32Array> => {
    const all = new Float32Array(rows * cols);
    let at = 0;
    for (const part of parts) {
      const values = await read(part);
      all.set(values, at);
      at += values.length;
    }
    return all;
  };
  /** x · Wᵀ with the rows of several matrices behind each other, in 8 or 32 bits: a matrix is stored transposed. */
  const columns = (x: Value, name: string, parts: readonly string[], rows: number): Value => {
    const cols = x.shape.at(-1) as number;
    const out = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), rows] };
    if (dtype === 'fp32') {
      const make = async () => transposed(await rowsOf(parts, rows, cols), rows, cols, new Float32Array(rows * cols));
      return matmul(g, x, plain(`${name}.weight`, [cols, rows], make));
    }
    stored.push({
      names: [[`${name}.bytes`], [`${name}.scales`]],
      make: async () => {
        const { bytes, scales } = bytesOfRows(await rowsOf(parts, rows, cols), rows, cols);
        return [transposed(bytes, rows, cols, new Uint8Array(rows * cols)), scales];
      },
    });
    const bytes = g.external(`${name}.bytes`, 'uint8', [cols, rows]);
    const scales = g.external(`${name}.scales`, 'float32', [rows]);
    const zero = g.constant(new Uint8Array(rows).fill(BYTE_ZERO), [rows]);
    return g.node('DynamicQuantizeMatMul', [x, bytes, scales, zero], [out], { domain: MICROSOFT })[0]!;
  };
  /** x · Wᵀ with the rows of several matrices behind each other. @param alias other names of the values and scales. */
  const linear = (x: Value, name: string, parts: readonly string[], rows: number, alias: readonly string[] = []) => {
    if (dtype !== 'q4') return columns(x, name, parts, rows);
    const cols = x.shape.at(-1) as number;
    const blocks = cols / QUANT_BLOCK;
    const names = [
      [`${name}.quant`, ...alias.slice(0, 1)],
      [`${name}.scales`, ...alias.slice(1)],
    ];
    const make = async () => {
      const packed = new Uint8Array(rows * blocks * blockBytes(BITS));
      const scales = new Float32Array(rows * blocks);
      let row = 0;
      for (const part of parts) {
        const values = await read(part);
        const count = values.length / cols;
        const [from, to] = [row * blocks, (row + count) * blocks];
        const own = packed.subarray(from * blockBytes(BITS), to * blockBytes(BITS));
        quantizeRows(values, count, cols, BITS, own, scales.subarray(from, to));
        row += count;
      }
      return [packed, scales];
    };
    stored.push({ names, make });
    const packed = g.external(names[0]![0]!, 'uint8', [rows, blocks, blockBytes(BITS)]);
    const scales = g.external(names[1]![0]!, 'float32', [rows * blocks]);
    const attributes = { K: cols, N: rows, bits: BITS, block_size: QUANT_BLOCK, accuracy_level: ACCURACY_INT8 };
    const out = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), rows] };
    return g.node('MatMulNBits', [x, packed, scales], [out], { attributes, domain: MICROSOFT })[0]!;
  };
  const normWeight = (name: string) => plain(`${name}.weight`, [E], () => read(name));
  /** The sum of the stream and what a layer adds, normalized, and the sum itself. */
  const addAndNorm = (x: Value, added: Value, name: string) => {
    const options = { attributes: { epsilon }, domain: MICROSOFT };
    return g.node('SkipSimplifiedLayerNormalization', [x, added, normWeight(name)], [x, null, null, x], options);
  };

  const [B, T, P] = ['batch_size', 'sequence_length', 'past_sequence_length'];
  const ids = g.input('input_ids', 'int64', [B, T]);
  const mask = g.input('attention_mask', 'int64', [B, 'total_sequence_length']);
  const kept = g.input('num_logits_to_keep', 'int64', []);
  const past = Array.from({ length: config.num_hidden_layers }, (_, l) =>
    ['key', 'value'].map((part) => g.input(`past_key_values.${l}.${part}`, 'float32', [B, G, P, D])),
  );

  const counted = { dtype: 'int64' as const, shape: [B] };
  const [seen] = g.node('ReduceSum', [mask, g.ints(1)], [counted], { attributes: { keepdims: 0 } });
  const lengths = cast(g, sub(g, seen!, g.ints(1)), 'int32');
  const [total] = g.node('Gather', [shapeOf(g, mask, 0, 2), index(g, 1)], [{ dtype: 'int64', shape: [] }]);
  const totalLength = cast(g, total!, 'int32');
  const [cos, sin] = [Math.cos, Math.sin].map((of) =>
    plain(`${of.name}_cache`, [positions, D / 2], () => rotations(config, of)),
  );

  const stream = { dtype: 'float32' as const, shape: [B, T, E] as Dim[] };
  // The table of embeddings is the head's matrix.
  const head: { readonly embedded: Value; product(x: Value): Value } = {
    q4: () => {
      const table = g.external('embed.quant', 'uint8', [V, (E * BITS) / 8]);
      const tableScales = g.external('embed.scales', 'float32', [V, E / QUANT_BLOCK]);
      const gathering = { bits: BITS, block_size: QUANT_BLOCK, gather_axis: 0, quantize_axis: 1 };
      const options = { attributes: gathering, domain: MICROSOFT };
      return {
        embedded: g.node('GatherBlockQuantized', [table, ids, tableScales], [stream], options)[0]!,
        product: (x: Value) => linear(x, 'head', ['model.embed_tokens'], V, [table.name, tableScales.name]),
      };
    },
    q8: () => {
      const make = async () => {
        const { bytes, scales } = bytesOfRows(await read('model.embed_tokens'), V, E);
        return [bytes, scales];
      };
      stored.push({ names: [['embed.bytes'], ['embed.scales']], make });
      const table = g.external('embed.bytes', 'uint8', [V, E]);
      const scales = g.external('embed.scales', 'float32', [V]);
      const zero = g.constant(new Uint8Array(V).fill(BYTE_ZERO), [V]);
      const rows = gather(g, table, ids);
      const scale = gather(g, scales, ids);
      const centred = sub(g, cast(g, rows, 'float32'), g.scalar(BYTE_ZERO));
      return {
        embedded: mul(g, centred, reshape(g, scale, [0, 0, 1], [B, T, 1])),
        product(x: Value) {
          const out = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), V] };
          const inputs = [x, transpose(g, table, [1, 0]), scales, zero];
          return g.node('DynamicQuantizeMatMul', inputs, [out], { domain: MICROSOFT })[0]!;
        },
      };
    },
    fp32: () => {
      const table = plain('embed.weight', [V, E], () => read('model.embed_tokens'));
      return {
        embedded: gather(g, table, ids),
        product: (x: Value) => matmul(g, x, transpose(g, table, [1, 0])),
      };
    },
  }[dtype]();
  let x = head.embedded;
  const first = [x, normWeight('model.layers.0.input_layernorm')];
  let [normed] = g.node('SimplifiedLayerNormalization', first, [x], { attributes: { axis: -1, epsilon } }) as [Value];
  past.forEach(([pastKey, pastValue], l) => {
    const layer = `model.layers.${l}`;
    const projections = ['q', 'k', 'v'].map((part) => `${layer}.self_attn.${part}_proj`);
    const packed = linear(normed, `${layer}.qkv`, projections, (H + 2 * G) * D);
    const held = { dtype: 'float32' as const, shape: [B, G, `${P}+${T}`, D] };
    const [attended, ...present] = g.node(
      'GroupQueryAttention',
      [packed, null, null, pastKey!, pastValue!, lengths, totalLength, cos!, sin!],
      [{ dtype: 'float32', shape: [B, T, H * D] }, held, held],
      {
        attributes: { num_heads: H, kv_num_heads: G, do_rotary: 1 },
        domain: MICROSOFT,
        outputNames: [`${layer}.attended`, `present.${l}.key`, `present.${l}.value`],
      },
    );
    g.outputs.push(...present);
    const projected = linear(attended!, `${layer}.o`, [`${layer}.self_attn.o_proj`], E);
    [normed, x] = addAndNorm(x, projected, `${layer}.post_attention_layernorm`) as [Value, Value];
    const gate = linear(normed, `${layer}.gate`, [`${layer}.mlp.gate_proj`], F);
    const up = linear(normed, `${layer}.up`, [`${layer}.mlp.up_proj`], F);
    const down = linear(mul(g, mul(g, gate, sigmoid(g, gate)), up), `${layer}.down`, [`${layer}.mlp.down_proj`], E);
    const next = l + 1 < past.length ? `model.layers.${l + 1}.input_layernorm` : 'model.norm';
    [normed, x] = addAndNorm(x, down, next) as [Value, Value];
  });
  const from = reshape(g, neg(g, kept), [1], [1]);
  const end = g.ints(Number.MAX_SAFE_INTEGER);
  const shape: Dim[] = [B, 'num_logits_to_keep', E];
  const [last] = g.node('Slice', [normed, from, end, g.ints(1)], [{ dtype: 'float32', shape }]);
  g.output(head.product(last!), 'logits');
  return { graph: g, stored };
}

/** Rows of bytes with one scale each. */
function bytesOfRows(values: Float32Array, rows: number, cols: number): { bytes: Uint8Array; scales: Float32Array } {
  const bytes = new Uint8Array(values.length);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const [start, end] = [row * cols, (row + 1) * cols];
    let largest = 0;
    for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(values[i]!));
    scales[row] = largest / 127;
    for (let i = start; i < end; i++) bytes[i] = Math.round(values[i]! / (scales[row]! || 1)) + BYTE_ZERO;
  }
  return { bytes, scales };
}

/** A matrix by columns. */
function transposed<T extends Float32Array | Uint8Array>(values: T, rows: number, cols: number, out: T): T {
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++) out[col * rows + row] = values[row * cols + col]!;
  return out;
}

/** cos or sin of each position's angles [positions, D / 2]. */
function rotations(config: ShapeConfig, of: (angle: number) => number): Float32Array {
  const pairs = config.head_dim / 2;
  const factors = config.rope_scaling ? ropeFactors(config) : new Float32Array(pairs).fill(1);
  const out = new Float32Array(config.max_position_embeddings * pairs);
  for (let i = 0; i < pairs; i++) {
    const frequency = config.rope_theta ** (-i / pairs) / factors[i]!;
    for (let p = 0; p < config.max_position_embeddings; p++) out[p * pairs + i] = of(p * frequency);
  }
  return out;
}
