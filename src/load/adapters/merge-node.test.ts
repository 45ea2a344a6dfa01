import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { largestError } from '../../../test/parity/case.ts';
import { LITGPT_FILES, llamaLora, matrix, vector, writeTestAdapter } from '../../../test/support/adapters.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { f32 } from '../../../test/support/safetensors-bytes.ts';
import { floatsOf, readTensors, writeTensors } from '../../../test/support/safetensors-file.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { asNobody, openToAll } from '../../../test/support/unprivileged.ts';
import { openCheckpointFolder } from '../../checkpoint/open-node.ts';
import { loadModel } from '../../node.ts';
import { AdapterError, InputError, WeightsError } from '../../util/errors.ts';
import { narrow } from '../../util/half.ts';
import { mergeAdapters, openCheckpoint } from '../load-model-node.ts';

const base = await tempFolder('merge');
const cacheDir = join(base, 'cache');
const LLAMA = caseFolder('llama');
let count = 0;
let lora: string;
const fresh = (): string => join(base, `out-${count++}`);

beforeAll(async () => {
  await openToAll(base);
  lora = await writeTestAdapter(join(base, 'lora'), llamaLora(1));
});

async function logitsIn(folder: string, adapters?: { path: string }[]): Promise<Float32Array> {
  await using model = await loadModel(folder, { weights: 'float32', cacheDir, adapters });
  return await model.prefill(model.createCache({ policy: 'dense', cacheLength: 64 }), [5, 6, 7, 8, 9], {
    logits: 'all',
  });
}

const refused = async (run: Promise<unknown>, out: string) => {
  const error = await run.then(
    () => undefined,
    (e: unknown) => e,
  );
  const left = (await readdir(base)).filter((name) => name.includes(out.slice(base.length + 1)));
  return { error: error as Error, left };
};

describe('a merged checkpoint', () => {
  it('computes what the adapter computes, and keeps what nothing changes', async () => {
    const out = fresh();
    const done: number[] = [];
    const result = await mergeAdapters(LLAMA, [{ path: lora }], out, {
      onProgress: ({ bytes, total }) => done.push(bytes / total),
    });
    expect(result).toEqual({ folder: out, bytes: 80_768, tensors: 21 });
    expect(done.at(-1)).toBe(1);
    expect(await readdir(out)).toEqual(['config.json', 'model.safetensors']);
    expect(largestError(await logitsIn(out), await logitsIn(LLAMA, [{ path: lora }]))).toBe(0);
    const [own, merged] = await Promise.all([LLAMA, out].map((f) => readTensors(join(f, 'model.safetensors'))));
    expect(Object.keys(merged).sort()).toEqual(Object.keys(own).sort());
    const different = Object.keys(own).filter((name) => Buffer.compare(own[name].bytes, merged[name].bytes) !== 0);
    expect(different.sort()).toEqual(
      [0, 1].flatMap((l) =>
        ['mlp.down_proj', 'self_attn.q_proj', 'self_attn.v_proj'].map((m) => `model.layers.${l}.${m}.weight`),
      ),
    );
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    expect(config).toEqual(JSON.parse(await readFile(join(LLAMA, 'config.json'), 'utf8')));
  });

  it('comes in shards where it is large, with an index', async () => {
    const out = fresh();
    await mergeAdapters(LLAMA, [{ path: lora }], out, { maxShardBytes: 20_000 });
    const names = (await readdir(out)).sort();
    expect(names).toContain('model-00001-of-00005.safetensors');
    expect(names).toContain('model.safetensors.index.json');
    const index = JSON.parse(await readFile(join(out, 'model.safetensors.index.json'), 'utf8'));
    expect(index.metadata).toEqual({ total_size: 80_768 });
    expect(Object.keys(index.weight_map)).toHaveLength(21);
    expect(largestError(await logitsIn(out), await logitsIn(LLAMA, [{ path: lora }]))).toBe(0);
  });

  it('puts the rows of fused matrices where they belong, and turns them as they were', async () => {
    const cases = [
      ['gpt_neox', 'gpt_neox.layers.0.attention.query_key_value', 96, 32],
      ['falcon', 'transformer.h.0.self_attention.query_key_value', 48, 32],
      ['codegen', 'transformer.h.0.attn.qkv_proj', 96, 32],
      ['phi3', 'model.layers.0.mlp.gate_up_proj', 80, 32],
      ['gpt2', 'transformer.h.0.attn.c_attn', 96, 32],
    ] as const;
    for (const [name, module] of cases) {
      const checkpoint = await openCheckpointFolder(caseFolder(name));
      const turned = name === 'gpt2';
      const tensor = `${module}.weight`;
      const { shape } = checkpoint.tensors.get(tensor)!;
      await checkpoint.close();
      const [rows, width] = turned ? [shape[1], shape[0]] : shape;
      const tensors = {
        [`base_model.model.${module}.lora_A.weight`]: matrix(1, width, 1),
        [`base_model.model.${module}.lora_B.weight`]: matrix(rows, 1, 2),
      };
      const settings = { peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: [module] };
      const path = await writeTestAdapter(join(base, `fused-${name}`), { settings, tensors });
      const out = fresh();
      await mergeAdapters(caseFolder(name), [{ path }], out);
      const own = floatsOf((await readTensors(join(caseFolder(name), 'model.safetensors')))[tensor]).slice();
      const made = floatsOf((await readTensors(join(out, 'model.safetensors')))[tensor]).slice();
      const [a, b] = Object.values(tensors).map((t) => new Float32Array(t.bytes.buffer.slice(0)));
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < width; j++) {
          const at = turned ? j * rows + i : i * width + j;
          expect(Math.abs(made[at] - own[at] - a[j] * b[i])).toBeLessThan(1e-5);
        }
    }
  });

  it('has a head of its own where the tied one is changed', async () => {
    const settings = { peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: ['lm_head'] };
    const tensors = {
      'base_model.model.lm_head.lora_A.weight': matrix(2, 32, 1),
      'base_model.model.lm_head.lora_B.weight': matrix(97, 2, 2),
    };
    const path = await writeTestAdapter(join(base, 'head'), { settings, tensors });
    for (const name of ['gpt2', 'llama-bias-tied']) {
      const out = fresh();
      await mergeAdapters(caseFolder(name), [{ path }], out);
      const merged = await openCheckpointFolder(out);
      expect(merged.config.tie_word_embeddings).toBe(false);
      expect([...merged.tensors.keys()]).toContain('lm_head.weight');
      await merged.close();
      expect(largestError(await logitsIn(out), await logitsIn(caseFolder(name), [{ path }]))).toBe(0);
    }
    // A base without its prefix gets it, as the head has none.
    const bare = join(base, 'bare');
    await mkdir(bare);
    const own = await readTensors(join(caseFolder('gpt2'), 'model.safetensors'));
    await writeTensors(
      join(bare, 'model.safetensors'),
      Object.fromEntries(Object.entries(own).map(([n, t]) => [n.replace('transformer.', ''), t])),
    );
    await writeFile(join(bare, 'config.json'), await readFile(join(caseFolder('gpt2'), 'config.json')));
    const out = fresh();
    await mergeAdapters(bare, [{ path }], out);
    const names = Object.keys(await readTensors(join(out, 'model.safetensors')));
    expect(names.filter((n) => !n.startsWith('transformer.'))).toEqual(['lm_head.weight']);
  });

  it('keeps the types of the base, and copies the files beside it', async () => {
    const source = join(base, 'brain');
    await mkdir(source);
    const own = await readTensors(join(LLAMA, 'model.safetensors'));
    const dtypes = ['BF16', 'F16'] as const;
    await writeTensors(
      join(source, 'model.safetensors'),
      Object.fromEntries(
        Object.entries(own).map(([name, t], i) => {
          const dtype = dtypes[i % 2];
          return [name, { ...t, dtype, bytes: narrow(floatsOf({ ...t, bytes: t.bytes.slice() }), dtype) }];
        }),
      ),
    );
    await writeFile(join(source, 'config.json'), await readFile(join(LLAMA, 'config.json')));
    for (const name of ['generation_config.json', 'tokenizer_config.json', 'vocab.json', 'LICENSE'])
      await writeFile(join(source, name), '{"a": 1}');
    for (const name of ['README.md', 'pytorch_model.bin', 'optimizer.pt']) await writeFile(join(source, name), 'x');
    await writeFile(join(source, 'tokenizer.model'), Uint8Array.of(0xff, 0xfe));
    const out = fresh();
    await mergeAdapters(source, [{ path: lora }], out);
    expect((await readdir(out)).sort()).toEqual([
      'LICENSE',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.model',
      'tokenizer_config.json',
      'vocab.json',
    ]);
    expect([...(await readFile(join(out, 'tokenizer.model')))]).toEqual([0xff, 0xfe]);
    const [before, after] = await Promise.all([source, out].map((f) => readTensors(join(f, 'model.safetensors'))));
    for (const name of Object.keys(before)) expect(after[name].dtype).toBe(before[name].dtype);
    expect(largestError(await logitsIn(out), await logitsIn(source, [{ path: lora }]))).toBeLessThan(0.2);
  });

  it('may be made of a checkpoint that is open, and an empty folder', async () => {
    const out = fresh();
    await mkdir(out);
    const checkpoint = await openCheckpoint(LLAMA);
    await mergeAdapters(checkpoint, [{ path: lora, weight: 0.5 }], out);
    await checkpoint.close();
    expect(largestError(await logitsIn(out), await logitsIn(LLAMA))).toBeGreaterThan(0.01);
  });
});

describe('nothing half written is left', () => {
  it('when it is aborted', async () => {
    const out = fresh();
    const controller = new AbortController();
    const merging = mergeAdapters(LLAMA, [{ path: lora }], out, {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    const { error, left } = await refused(merging, out);
    expect(error.message).toBe('enough');
    expect(left).toEqual([]);
  });

  it('when a value does not fit its type', async () => {
    const source = join(base, 'half');
    await mkdir(source);
    const own = await readTensors(join(LLAMA, 'model.safetensors'));
    const name = 'model.layers.1.self_attn.q_proj.weight';
    const bytes = narrow(floatsOf({ ...own[name], bytes: own[name].bytes.slice() }), 'F16');
    await writeTensors(join(source, 'model.safetensors'), { ...own, [name]: { ...own[name], dtype: 'F16', bytes } });
    await writeFile(join(source, 'config.json'), await readFile(join(LLAMA, 'config.json')));
    const out = fresh();
    const { error, left } = await refused(mergeAdapters(source, [{ path: lora, weight: 1e6 }], out), out);
    expect(error).toBeInstanceOf(AdapterError);
    expect(error.message).toMatch(/q_proj\.weight has values too large for its type, F16/);
    expect(left).toEqual([]);
  });

  it('when the folder may not be written', async () => {
    const closed = join(base, 'closed');
    await mkdir(closed);
    await chmod(closed, 0o555);
    const out = join(closed, 'out');
    const error = await asNobody(() => mergeAdapters(LLAMA, [{ path: lora }], out).catch((e: unknown) => e));
    expect(error).toBeInstanceOf(WeightsError);
    expect((error as Error).message).toMatch(/closed\/out: the merged model can't be written: EACCES/);
    expect(await readdir(closed)).toEqual([]);
  });
});

describe('refuses', () => {
  it('a folder that holds something, a file, and no adapters', async () => {
    const full = fresh();
    await mkdir(full);
    await writeFile(join(full, 'mine.txt'), 'x');
    await expect(mergeAdapters(LLAMA, [{ path: lora }], full)).rejects.toThrow(/holds files already \(mine\.txt\)/);
    await expect(mergeAdapters(LLAMA, [{ path: lora }], join(full, 'mine.txt'))).rejects.toThrow(InputError);
    await expect(mergeAdapters(LLAMA, [], fresh())).rejects.toThrow(/no adapter to merge/);
    await expect(mergeAdapters(LLAMA, [{ path: lora }], fresh(), { maxShardBytes: 0 })).rejects.toThrow(InputError);
    expect(await readdir(full)).toEqual(['mine.txt']);
  });

  it("what is no weight, and biases that the family can't hold", async () => {
    const prefix = await writeTestAdapter(
      join(base, 'prefix'),
      {
        settings: { kind: 'adapter', adapter_prompt_length: 2, adapter_start_layer: 1 },
        tensors: {
          'transformer.h.1.attn.adapter_wte.weight': matrix(2, 32, 1),
          'transformer.h.1.attn.gating_factor': f32([1, 1, 4, 1], [1, 1, 1, 1]),
        },
      },
      LITGPT_FILES,
    );
    await expect(mergeAdapters(LLAMA, [{ path: prefix }], fresh())).rejects.toThrow(
      /prefixes of an attention are no weights; load the model with the adapter/,
    );
    const { settings, tensors } = llamaLora(1);
    const bias = { ...tensors, 'base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias': vector(32, 1) };
    const biased = await writeTestAdapter(join(base, 'biased'), { settings, tensors: bias });
    await expect(mergeAdapters(LLAMA, [{ path: biased }], fresh())).rejects.toThrow(/adds a bias to h\.0\.attn\.q/);
  });
});
