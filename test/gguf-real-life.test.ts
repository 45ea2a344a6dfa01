/**
 * What GGUF files of other programs have beside what llama.cpp's converter writes: names without an ending, links, odd entries, tensors of
 * other parts, vocabularies of other sizes.
 */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { loadModel } from '../src/node.ts';
import { changedGguf, type GgufChanges } from './support/changed-gguf.ts';
import { Bytes, f32Tensor, type TestValue } from './support/gguf-bytes.ts';
import { tempFolder } from './support/temp-folder.ts';

const MODELS = join(import.meta.dirname, 'fixtures/gguf/models');

describe('a GGUF file as others make it', async () => {
  const folder = await tempFolder('gguf-real-life');
  const llama = new Uint8Array(await readFile(join(MODELS, 'llama.gguf')));
  let written = 0;

  async function file(changes: GgufChanges, of = llama): Promise<string> {
    const path = join(folder, `${written++}.gguf`);
    await writeFile(path, await changedGguf(of, changes));
    return path;
  }

  async function logitsOf(path: string): Promise<Float32Array> {
    await using model = await loadModel(path, { weights: 'float32', cacheDir: folder });
    return (await model.step(model.createCache({ policy: 'dense', cacheLength: 8 }), [[5, 9, 11, 40]])).logits.slice();
  }
  const plain = await logitsOf(join(MODELS, 'llama.gguf'));

  async function configOf(changes: GgufChanges): Promise<Record<string, unknown>> {
    const checkpoint = await openCheckpointFolder(await file(changes));
    await checkpoint.close();
    return checkpoint.config;
  }

  it('is known by its first bytes: a blob of Ollama, and one of the hub, by itself or by its link', async () => {
    await mkdir(join(folder, 'blobs'));
    await mkdir(join(folder, 'snapshot'));
    for (const name of ['sha256-1f2d', '1f2d9a']) await writeFile(join(folder, 'blobs', name), llama);
    await symlink(join('..', 'blobs', '1f2d9a'), join(folder, 'snapshot', 'model.Q4_K_M.gguf'));
    for (const path of ['blobs/sha256-1f2d', 'blobs/1f2d9a', 'snapshot/model.Q4_K_M.gguf', 'snapshot'])
      expect(await logitsOf(join(folder, path)), path).toEqual(plain);
    await writeFile(join(folder, 'blobs', 'sha256-0'), '{"model_format":"gguf"}');
    await expect(openCheckpointFolder(join(folder, 'blobs', 'sha256-0'))).rejects.toThrow(/neither a folder nor/);
  });

  it('may have entries of every type that nothing reads', async () => {
    const raw = new Bytes();
    raw.text('quantize.imatrix.chunks_count').u32(5).u32(125);
    raw.text('quantize.imatrix.entries_count').u32(11).u64(224);
    raw.text('x.float64').u32(12).u64(0x3ff0000000000000n);
    raw.text('x.bools').u32(9).u32(7).u64(2).u8(1).u8(0);
    raw.text('x.empty').u32(9).u32(8).u64(0);
    raw.text('x.bytes').u32(9).u32(0).u64(3).u8(1).u8(2).u8(3);
    const entries = {
      'quantize.imatrix.file': '/models_out/x.imatrix',
      'general.file_type': 9999,
      'general.quantized_by': 'someone',
      'general.tags': ['chat', 'ü'],
      'llama.rope.scaling.finetuned': false,
    };
    expect(await logitsOf(await file({ entries, raw: { count: 6, bytes: raw } }))).toEqual(plain);
  });

  it('may hold what sees and hears, but no tensor that nobody knows', async () => {
    const tensor = f32Tensor([4], [1, 2, 3, 4]);
    const parts = { 'v.blk.0.attn_q.weight': tensor, 'mm.mm_soft_emb_norm.weight': tensor, 'a.conv1d.1.bias': tensor };
    expect(await logitsOf(await file({ tensors: parts }))).toEqual(plain);
    await expect(configOf({ tensors: { 'blk.0.attn_of_tomorrow.weight': tensor } })).rejects.toThrow(
      /1 tensors do not belong to the architecture llama: "blk.0.attn_of_tomorrow.weight"/,
    );
  });

  it('scales positions by a factor without a type, and not by a factor of 0', async () => {
    const factor = (value: number): Record<string, TestValue> => ({ 'llama.rope.scaling.factor': value });
    expect(await configOf({ entries: factor(4) })).toMatchObject({ rope_scaling: { rope_type: 'linear', factor: 4 } });
    expect(await configOf({ entries: factor(0) })).toMatchObject({ rope_scaling: null });
    const stated = { ...factor(0), 'llama.rope.scaling.type': 'linear' };
    expect(await configOf({ entries: stated })).toMatchObject({ rope_scaling: null });
    await expect(configOf({ entries: { 'llama.rope.scaling.type': 'spiral' } })).rejects.toThrow(/is "spiral"; none, /);
  });
});
