/**
 * @file Writes a model of a given shape as exports for transformers.js are made on the Hub: 4 bits a weight (`model_q4.onnx`), keys
 * and values as inputs and outputs, and ONNX Runtime's fused operators, above all GroupQueryAttention.
 */

import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type ExternalData, GraphBuilder, MICROSOFT, type Value } from '../src/backends/onnx/builder.ts';
import { cast, index, mul, neg, reshape, shapeOf, sigmoid, sub } from '../src/backends/onnx/ops.ts';
import type { Dim } from '../src/ops/shapes.ts';
import { blockBytes, QUANT_BLOCK, quantiseRows } from '../src/weights/quantise.ts';
import { ropeFactors } from './gguf.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import type { ShapeConfig } from './shapes.ts';

const BITS = 4;
/** MatMulNBits multiplies integers, which is fastest. Exports that do not say it multiply in float32. */
const ACCURACY_INT8 = 4;
const ALIGNMENT = 64;
const MODEL = 'model_q4.onnx';
const DATA = `${MODEL}_data`;

/** Bytes of external values; those of a quantised matrix are made together. */
interface Stored {
  readonly names: readonly (readonly string[])[];
  readonly make: () => Promise<readonly ArrayBufferView[]>;
}

/**
 * Writes the folder, with the random weights that the same seed gives our side.
 * @returns the size of the weights in bytes.
 * @throws Error for shapes whose graph is another than Llama's.
 */
export async function writeOnnx(folder: string, config: ShapeConfig, seed: number): Promise<number> {
  if (config.model_type !== 'llama')
    throw new Error(`exports for transformers.js are written for llama, not for ${config.model_type}`);
  const { graph, stored } = build(config, seed);
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  const places = new Map<string, ExternalData>();
  const file = openSync(join(folder, 'onnx', DATA), 'w');
  let offset = 0;
  try {
    for (const { names, make } of stored)
      for (const [i, view] of (await make()).entries()) {
        const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
        for (let done = 0; done < bytes.length; )
          done += writeSync(file, bytes, done, bytes.length - done, offset + done);
        for (const name of names[i]!) places.set(name, { location: DATA, offset, length: bytes.length });
        offset = Math.ceil((offset + bytes.length) / ALIGNMENT) * ALIGNMENT;
      }
  } finally {
    closeSync(file);
  }
  writeFileSync(
    join(folder, 'onnx', MODEL),
    graph.serialise((name) => places.get(name)!),
  );
  // Without tokens that end a text: a random model may choose any at any time.
  const { eos_token_id: _, ...open } = config;
  writeFileSync(join(folder, 'config.json'), JSON.stringify(open));
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ bos_token_id: config.bos_token_id }));
  return offset;
}

function build(config: ShapeConfig, seed: number): { graph: GraphBuilder; stored: readonly Stored[] } {
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
  /** x · Wᵀ with the rows of several matrices behind each other. @param alias other names of the values and scales. */
  const linear = (x: Value, name: string, parts: readonly string[], rows: number, alias: readonly string[] = []) => {
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
        quantiseRows(values, count, cols, BITS, own, scales.subarray(from, to));
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
  /** The sum of the stream and what a layer adds, normalised, and the sum itself. */
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

  // The table of embeddings is the head's matrix.
  const table = g.external('embed.quant', 'uint8', [V, (E * BITS) / 8]);
  const tableScales = g.external('embed.scales', 'float32', [V, E / QUANT_BLOCK]);
  const gathering = { bits: BITS, block_size: QUANT_BLOCK, gather_axis: 0, quantize_axis: 1 };
  const options = { attributes: gathering, domain: MICROSOFT };
  const stream = { dtype: 'float32' as const, shape: [B, T, E] as Dim[] };
  let [x] = g.node('GatherBlockQuantized', [table, ids, tableScales], [stream], options) as [Value];
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
  const head = linear(last!, 'head', ['model.embed_tokens'], V, [table.name, tableScales.name]);
  g.output(head, 'logits');
  return { graph: g, stored };
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
