/**
 * What GGUF files of other programs have beside what llama.cpp's converter writes: names without an ending, links, odd
 * entries, tensors of other parts, vocabularies of other sizes.
 */
import { copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { InputError, loadModel } from '../src/node.ts';
import { largestError } from './parity/case.ts';
import { changedGguf, type GgufChanges, rewrittenGguf, shardsOf } from './support/changed-gguf.ts';
import { Bytes, f32Tensor, type TestValue } from './support/gguf-bytes.ts';
import { tempFolder } from './support/temp-folder.ts';
import { byteFallbackJson } from './support/tokenizers.ts';

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

  it('may have norms in float16, no head, and version 2 of the format', async () => {
    const path = join(folder, 'half.gguf');
    await writeFile(path, await rewrittenGguf(llama, { version: 2 }));
    const error = largestError(await logitsOf(path), plain);
    expect(error).toBeLessThan(0.01);
    expect(error).toBeGreaterThan(0);
    await writeFile(path, await rewrittenGguf(llama, { without: /^output\.weight$/ }));
    const checkpoint = await openCheckpointFolder(path);
    expect(checkpoint.config).toMatchObject({ tie_word_embeddings: true });
    await checkpoint.close();
    expect((await logitsOf(path)).every(Number.isFinite)).toBe(true);
    await writeFile(path, await rewrittenGguf(llama, { version: 1 }));
    await expect(openCheckpointFolder(path)).rejects.toThrow(/has version 1 of the GGUF format/);
    await writeFile(path, await rewrittenGguf(llama, { version: 0x03000000 }));
    await expect(openCheckpointFolder(path)).rejects.toThrow(/is big-endian/);
  });

  it('may be in shards, which must be those that their names and they themselves say', async () => {
    const shards = join(folder, 'shards');
    await mkdir(shards);
    const name = (i: number) => join(shards, `m-0000${i + 1}-of-00003.gguf`);
    const write = async (stated: (index: number, tensors: number) => Record<string, number>) => {
      const files = await shardsOf(llama, 3, stated);
      for (const [i, bytes] of files.entries()) await writeFile(name(i), bytes);
    };
    const usual = (i: number, tensors: number) => ({
      ...{ 'split.no': i, 'split.count': 3, 'split.tensors.count': tensors },
    });
    await write(usual);
    for (const path of [name(0), name(2), shards]) expect(await logitsOf(path)).toEqual(plain);
    await write((i, tensors) => ({ ...usual(i, tensors), 'split.count': 4 }));
    await expect(openCheckpointFolder(name(0))).rejects.toThrow(/part 0 of 4, but its name makes it part 0 of 3/);
    await write((i, tensors) => ({ ...usual(i, tensors), 'split.no': 2 - i }));
    await expect(openCheckpointFolder(name(1))).rejects.toThrow(/part 2 of 3, but its name makes it part 0 of 3/);
    await write((i, tensors) => ({ ...usual(i, tensors), 'split.tensors.count': tensors + 1 }));
    await expect(openCheckpointFolder(name(0))).rejects.toThrow(/hold \d+ tensors, but \d+ are announced/);
    await write(usual);
    await copyFile(name(0), join(folder, 'alone.gguf'));
    await expect(openCheckpointFolder(join(folder, 'alone.gguf'))).rejects.toThrow(/says that it is part 0 of 3/);
    await rm(name(1));
    await expect(openCheckpointFolder(name(0))).rejects.toThrow(/1 of 3 GGUF files are missing: m-00002-of-00003/);
  });

  /** The entries of a SentencePiece vocabulary of `size` tokens. */
  function vocabularyOf(size: number): Record<string, TestValue> {
    const { vocab } = byteFallbackJson()['model'] as { vocab: Record<string, number> };
    const tokens = Object.keys(vocab).slice(0, size);
    while (tokens.length < size) tokens.push(`more ${tokens.length}`);
    return {
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.scores': tokens.map((_, i) => -i),
      'tokenizer.ggml.add_bos_token': false,
      'tokenizer.ggml.eos_token_id': 2,
    };
  }

  it('may have fewer tokens than rows of the embedding, but not more', async () => {
    const path = await file({ entries: vocabularyOf(60) });
    await using model = await loadModel(path, { weights: 'float32', cacheDir: folder });
    const { tokens, text } = await model.generate([5, 9, 96], { maxNewTokens: 8, temperature: 0 }).result();
    expect(tokens.length).toBeGreaterThan(0);
    expect(typeof text).toBe('string');
    await expect(model.generate([97 + 5], { maxNewTokens: 1 }).result()).rejects.toThrow(InputError);
    const more = await file({ entries: vocabularyOf(97 + 60) });
    await expect(loadModel(more, { weights: 'float32', cacheDir: folder })).rejects.toThrow(
      /the tokenizer has 157 tokens, but the model only 97/,
    );
  });

  it('has its own defaults of sampling', async () => {
    const own = { 'general.sampling.temp': 0.5, 'general.sampling.top_k': 7 };
    await using model = await loadModel(await file({ entries: own }), { weights: 'float32', cacheDir: folder });
    expect(model.defaults).toMatchObject({ temperature: 0.5, topK: 7 });
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
