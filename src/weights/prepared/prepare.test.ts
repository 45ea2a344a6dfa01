import { describe, expect, it } from 'vitest';
import { type ConfigJson, caseFolder, configJson } from '../../../test/support/family-cases.ts';
import { openCheckpointFolder } from '../../checkpoint/open-node.ts';
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts';
import { planModel } from '../../load/plan.ts';
import { scaledBlocks, type WeightCodec } from '../codec.ts';
import { tensorRows } from '../rows.ts';
import type { ParamSpec } from '../types.ts';
import { keepStored } from './keep-stored.ts';
import { layOut } from './layout.ts';
import { prepareWeights } from './prepare.ts';

/** Sizes of the small cases, and what they are here: experts of 8 MB each, in float32. */
const SIZES: Readonly<Record<number, number>> = { 16: 512, 32: 1024, 40: 2048, 64: 2048, 80: 4096, 160: 8192 };
/** Values that may be read at once: 16 MB of float32. */
const PIECE = 2 ** 22;

/** A small case's checkpoint as if it were large. All weights are 0.5, and are made when they are read. */
async function enlarged(name: string, seen: (values: number) => void): Promise<Checkpoint> {
  const json: ConfigJson = configJson(name);
  for (const key of ['hidden_size', 'intermediate_size', 'd_model'])
    if (typeof json[key] === 'number') json[key] = SIZES[json[key]];
  if (json.ffn_config) json.ffn_config = { ...json.ffn_config, ffn_hidden_size: 2048 };
  delete json.head_dim;
  const checkpoint = await openCheckpointFolder(caseFolder(name));
  await checkpoint.close();
  const tensors = new Map<string, StoredTensor>();
  for (const [key, tensor] of checkpoint.tensors)
    tensors.set(key, {
      ...tensor,
      shape: tensor.shape.map((length) => SIZES[length] ?? length),
      readFloats: async (_, count) => {
        seen(count);
        return new Float32Array(count).fill(0.5);
      },
    });
  return { ...checkpoint, config: json, tensors };
}

describe('experts', () => {
  // Modules of their own, stacked, stacked and turned around, one below the other.
  it.each(['mixtral', 'granitemoe', 'aria_text', 'dbrx'])('of %s are prepared piece by piece', async (name) => {
    let most = 0;
    const checkpoint = await enlarged(name, (values) => {
      most = Math.max(most, values);
    });
    const { params, resolver } = planModel(checkpoint, 'int8');
    const specs = params.filter((param) => param.name.startsWith('h.0.mlp.experts.'));
    const layout = layOut(specs);
    let [largest, written] = [0, 0];
    await prepareWeights({
      specs,
      layout,
      source: (param) => resolver.source(param),
      sink: async (bytes) => {
        largest = Math.max(largest, bytes.byteLength);
        written += bytes.byteLength;
      },
    });
    const values = 4 * 3 * 1024 * 2048;
    expect(written).toBe(values + (values / 32) * 4);
    expect(values).toBeGreaterThan(5 * PIECE);
    expect(most).toBeLessThanOrEqual(PIECE);
    expect(largest).toBeLessThanOrEqual(PIECE);
  });
});

describe('rows that a backend keeps as the checkpoint stores them', () => {
  const blocks = {
    format: 'q8_0' as const,
    rowBytes: 34,
    read: async (start: number, count: number) => new Uint8Array(count * 34).fill(start + 7),
  };
  const read = async (_: number, count: number) => new Float32Array(count * 32);
  const source = (spec: ParamSpec) => ({ rows: 2, cols: 32, read, ...(spec.name === 'kept' ? { blocks } : {}) });
  const specs: ParamSpec[] = ['kept', 'made'].map((name) => ({
    name,
    shape: [2, 32],
    role: 'linear',
    format: 'int8',
  }));
  const codec: WeightCodec = {
    ...scaledBlocks,
    keeps: (format) => format === 'q8_0',
    parts: (spec) =>
      spec.stored ? [{ name: spec.name, dtype: spec.stored, shape: spec.shape, length: 68 }] : scaledBlocks.parts(spec),
  };

  it('are copied byte for byte, and the others are quantized', async () => {
    const marked = keepStored(specs, source, codec);
    expect(marked.map(({ stored }) => stored)).toEqual(['q8_0', undefined]);
    expect(keepStored(specs, source, scaledBlocks)).toBe(specs);
    const layout = layOut(marked, codec);
    const file = new Uint8Array(layout.size);
    const sink = async (bytes: Uint8Array, offset: number) => file.set(bytes, offset);
    await prepareWeights({ specs: marked, layout, codec, source, sink });
    const { offset, length, dtype } = layout.params.get('kept')!;
    expect([length, dtype]).toEqual([68, 'q8_0']);
    expect(new Set(file.subarray(offset, offset + length))).toEqual(new Set([7]));
    expect(layout.params.get('made')!.dtype).toBe('uint8');
  });

  it('must be finite, too', async () => {
    const bad = (spec: ParamSpec) => tensorRows(badTensor(spec.name), 2, 32);
    const marked = keepStored(specs.slice(0, 1), bad, codec);
    const layout = layOut(marked, codec);
    const made = prepareWeights({ specs: marked, layout, codec, source: bad, sink: async () => {} });
    await expect(made).rejects.toThrow(/holds NaN in row 0/);
  });

  const badTensor = (name: string) => ({
    name,
    dtype: 'F32' as const,
    shape: [2, 32],
    readFloats: async (_: number, count: number) => new Float32Array(count).fill(Number.NaN),
    blocks: { ...blocks, read: async (_start: number, rows: number) => new Uint8Array(34 * rows).fill(0x7e) },
  });
});
