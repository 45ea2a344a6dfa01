import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdir, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import { caseFolder } from '../test/support/family-cases.ts';
import type { TestTensor } from '../test/support/safetensors-bytes.ts';
import { floatsOf, readTensors, writeTensors } from '../test/support/safetensors-file.ts';
import { tempFolder } from '../test/support/temp-folder.ts';
import { asNobody, openToAll } from '../test/support/unprivileged.ts';
import { CacheFullError, CheckpointError, InputError, WeightsError } from './errors.ts';
import type { LanguageModel } from './generate/language-model.ts';
import { type LoadProgress, loadModel, openCheckpointFolder } from './node.ts';

const PROMPT = [5, 6, 7, 8, 9, 10, 11, 12];
const base = await tempFolder('node');
await openToAll(base);
let count = 0;
let folder: string;
let cacheDir: string;

beforeEach(async () => {
  folder = join(base, String(count++));
  cacheDir = join(folder, 'cache');
  await mkdir(folder);
});

const f32Of = (name: string) => loadModel(caseFolder(name), { weights: 'f32', cacheDir });

async function logitsOf(model: LanguageModel, prompt: readonly number[] = PROMPT): Promise<number[]> {
  return [...(await model.prefill(model.createCache({ cacheLength: 128 }), prompt, { logits: 'all' }))];
}

/** Logits of the checkpoint in a folder. */
async function logitsIn(path: string): Promise<number[]> {
  await using model = await loadModel(path, { weights: 'f32', cacheDir });
  return await logitsOf(model);
}

/** A copy of a case with other tensors. */
async function variant(name: string, change: (tensors: Record<string, TestTensor>) => void): Promise<string> {
  const copy = join(folder, `variant-${count++}`);
  await cp(caseFolder(name), copy, { recursive: true });
  const path = join(copy, 'model.safetensors');
  const tensors = await readTensors(path);
  change(tensors);
  await writeTensors(path, tensors);
  return copy;
}

const entries = async (): Promise<string[]> => (await readdir(join(cacheDir, 'weights')).catch(() => [])).sort();

describe('the same model, stored otherwise, gives the same logits', () => {
  it('in shards', async () => {
    const copy = join(folder, 'sharded');
    await cp(caseFolder('llama'), copy, { recursive: true });
    const all = Object.entries(await readTensors(join(copy, 'model.safetensors')));
    await rm(join(copy, 'model.safetensors'));
    const weight_map: Record<string, string> = {};
    for (const [i, part] of [all.slice(0, 7), all.slice(7, 8), all.slice(8)].entries()) {
      const file = `model-0000${i + 1}-of-00003.safetensors`;
      await writeTensors(join(copy, file), Object.fromEntries(part));
      for (const [name] of part) weight_map[name] = file;
    }
    await writeFile(join(copy, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    expect(await logitsIn(copy)).toEqual(await logitsIn(caseFolder('llama')));
  });

  it('opened by the path of its file, or as a checkpoint that the caller closes', async () => {
    const expected = await logitsIn(caseFolder('llama'));
    expect(await logitsIn(join(caseFolder('llama'), 'model.safetensors'))).toEqual(expected);
    const checkpoint = await openCheckpointFolder(caseFolder('llama'));
    await using model = await loadModel(checkpoint, { weights: 'f32', cacheDir });
    expect(await logitsOf(model)).toEqual(expected);
    const norm = checkpoint.tensors.get('model.norm.weight')!;
    expect(await norm.readFloats(0, 32)).toHaveLength(32); // still open
    await checkpoint.close();
  });

  it.each([
    ['BF16', (bits: number) => bits >>> 16, (half: number) => half << 16],
    ['F16', toHalf, fromHalf],
  ] as const)('as %s', async (dtype, narrow, widen) => {
    const narrowed = await variant('llama', (all) => {
      for (const [name, tensor] of Object.entries(all)) {
        const bits = new Uint32Array(tensor.bytes.slice().buffer);
        all[name] = { dtype, shape: tensor.shape, bytes: new Uint8Array(Uint16Array.from(bits, narrow).buffer) };
      }
    });
    const widened = await variant('llama', (all) => {
      for (const [name, tensor] of Object.entries(all)) {
        const bits = new Uint32Array(tensor.bytes.slice().buffer);
        const wide = Uint32Array.from(bits, (value) => widen(narrow(value)));
        all[name] = { ...tensor, bytes: new Uint8Array(wide.buffer) };
      }
    });
    const expected = await logitsIn(widened);
    expect(await logitsIn(narrowed)).toEqual(expected);
    expect(expected).not.toEqual(await logitsIn(caseFolder('llama')));
  });

  it('with a head that is tied, by silence or by config.json', async () => {
    const embedding = 'model.embed_tokens.weight';
    const stated = await variant('llama', (all) => {
      all['lm_head.weight'] = { ...all[embedding], bytes: all[embedding].bytes.slice() };
    });
    const silent = await variant('llama', (all) => {
      delete all['lm_head.weight'];
    });
    const tied = await variant('llama', (all) => {
      floatsOf(all['lm_head.weight']).fill(7);
    });
    const config = JSON.parse(await readFile(join(tied, 'config.json'), 'utf8'));
    await writeFile(join(tied, 'config.json'), JSON.stringify({ ...config, tie_word_embeddings: true }));
    const expected = await logitsIn(stated);
    expect(await logitsIn(silent)).toEqual(expected);
    expect(await logitsIn(tied)).toEqual(expected);
    expect(expected).not.toEqual(await logitsIn(caseFolder('llama')));
  });

  it('as a base model of gpt2, without the prefix', async () => {
    const bare = await variant('gpt2', (all) => {
      for (const name of Object.keys(all)) {
        all[name.replace(/^transformer\./, '')] = all[name];
        delete all[name];
      }
    });
    expect(await logitsIn(bare)).toEqual(await logitsIn(caseFolder('gpt2')));
  });
});

describe('prompts', () => {
  it('without a token, or with one that is not the model’s, are refused and leave the cache alone', async () => {
    await using model = await f32Of('llama');
    const cache = model.createCache();
    await expect(model.prefill(cache, [])).rejects.toThrow(/the prompt is empty/);
    expect(() => model.generate([])).toThrow(/the prompt is empty/);
    for (const bad of [97, -1, 1.5, Number.NaN, 2 ** 40]) {
      const prompt = [...PROMPT, bad];
      const place = new RegExp(`token id ${bad} \\(place 8\\) is not in the model's vocabulary of 97`);
      await expect(model.prefill(cache, prompt, { chunkLength: 3 })).rejects.toThrow(InputError);
      await expect(model.prefill(cache, prompt, { chunkLength: 3 })).rejects.toThrow(place);
      await expect(model.generate(prompt, { cache, chunkLength: 3 }).done()).rejects.toThrow(place);
      await expect(model.step(cache, [prompt])).rejects.toThrow(InputError);
    }
    expect(cache.length()).toBe(0);
    expect(cache.memory().keysAndValues).toBe(0);
    expect([...(await model.prefill(cache, PROMPT, { logits: 'all' }))]).toEqual(await logitsOf(model));
  });

  it('longer than a dense cache are refused before anything is computed', async () => {
    await using model = await f32Of('llama');
    const cache = model.createCache({ cacheLength: 12 });
    await model.prefill(cache, PROMPT);
    const before = { positions: cache.tokenPositions(0), stats: cache.stats() };
    const progress: number[] = [];
    const tooLong = model.prefill(cache, [1, 2, 3, 4, 5], {
      chunkLength: 2,
      onProgress: (done) => progress.push(done),
    });
    await expect(tooLong).rejects.toThrow(CacheFullError);
    const generation = model.generate([1, 2, 3, 4, 5], { cache, chunkLength: 2, onPrefill: (n) => progress.push(n) });
    await expect(generation.done()).rejects.toThrow(/holds 8 of 12 tokens and can't take 5 more; .*larger cacheLength/);
    await expect(model.step(cache, [[1, 2, 3, 4, 5]])).rejects.toThrow(CacheFullError);
    expect(progress).toEqual([]);
    expect({ positions: cache.tokenPositions(0), stats: cache.stats() }).toEqual(before);
    // It goes on as if nothing had been.
    const rest = await model.prefill(cache, [13, 14, 15, 16], { logits: 'all' });
    const whole = await logitsOf(model, [...PROMPT, 13, 14, 15, 16]);
    expect(cache.length()).toBe(12);
    rest.forEach((logit, i) => {
      expect(logit).toBeCloseTo(whole[8 * 97 + i], 4);
    });
  });

  it('that are too long leave a cache alone whose keys would have to be made anew', async () => {
    await using model = await f32Of('llama-rope-dynamic'); // made for 12 positions
    const cache = model.createCache({ cacheLength: 20 });
    await model.prefill(cache, PROMPT);
    await expect(model.prefill(cache, new Array(13).fill(5))).rejects.toThrow(CacheFullError);
    expect(cache.tokens()).toEqual(PROMPT);
    await expect(model.prefill(cache, [5, 6, 7, 8, 97])).rejects.toThrow(InputError);
    await expect(model.prefill(cache, [5, 6, 7, 8, 9], { signal: AbortSignal.abort() })).rejects.toThrow();
    expect(cache.tokens()).toEqual(PROMPT);
    expect(cache.tokenPositions(0)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    // What does fit is what one longer prompt gives, though the rotation is another one.
    const last = await model.prefill(cache, [5, 6, 7, 8, 9]);
    const whole = (await logitsOf(model, [...PROMPT, 5, 6, 7, 8, 9])).slice(-97);
    last.forEach((logit, i) => {
      expect(logit).toBeCloseTo(whole[i], 4);
    });
  });

  it('beyond the positions that a model has learned are refused before anything is computed', async () => {
    await using model = await f32Of('gpt2');
    const cache = model.createCache({ cacheLength: 512 });
    const prompt = Array.from({ length: 129 }, (_, i) => 5 + (i % 90));
    await expect(model.prefill(cache, prompt, { chunkLength: 50 })).rejects.toThrow(
      /the model has learned 128 positions, and the sequence would reach 129/,
    );
    expect(cache.length()).toBe(0);
    await model.prefill(cache, prompt.slice(1), { chunkLength: 50 });
    await expect(model.prefill(cache, [5])).rejects.toThrow(InputError);
    expect(cache.length()).toBe(128);
  });

  it('are refused by a model that was disposed of', async () => {
    const model = await f32Of('llama');
    const cache = model.createCache();
    await model.prefill(cache, PROMPT);
    await model.release();
    await expect(model.prefill(cache, PROMPT)).rejects.toThrow(/disposed/);
    await model.release();
  });
});

describe('loadModel refuses', () => {
  it('what is not there, and says what is wrong with it', async () => {
    await expect(loadModel('')).rejects.toThrow(InputError);
    await expect(loadModel(join(folder, 'none'))).rejects.toThrow(/none: does not exist/);
    await expect(loadModel('./no/such/folder')).rejects.toThrow(CheckpointError);
    await expect(loadModel('C:\\no\\such')).rejects.toThrow(CheckpointError);
    await expect(loadModel(folder)).rejects.toThrow(/there is no config\.json/);
    await writeFile(join(folder, 'config.json'), '{"model_type": "llama"}');
    await expect(loadModel(folder)).rejects.toThrow(/there are no weights/);
    await writeFile(join(folder, 'model.safetensors'), 'short');
    await expect(loadModel(folder)).rejects.toThrow(/has 5 bytes, too few for a safetensors file/);
  });

  it('damaged weights without leaving anything', async () => {
    const copy = join(folder, 'cut');
    await cp(caseFolder('llama'), copy, { recursive: true });
    await truncate(join(copy, 'model.safetensors'), 20_000);
    await expect(loadModel(copy, { cacheDir })).rejects.toThrow(/the file holds only/);
    expect(await entries()).toEqual([]);
  });

  it('a folder that may not be read', async () => {
    const copy = join(folder, 'closed');
    await cp(caseFolder('llama'), copy, { recursive: true });
    // Everything is loaded before somebody acts who may read nothing.
    await logitsIn(caseFolder('llama'));
    await chmod(join(copy, 'model.safetensors'), 0);
    await asNobody(() => expect(loadModel(copy, { cacheDir })).rejects.toThrow(/model\.safetensors.* no permission/));
    await chmod(copy, 0);
    await asNobody(() => expect(loadModel(copy, { cacheDir })).rejects.toThrow(/no permission/));
    await chmod(copy, 0o700);
  });

  it('a folder for weights that may not be written', async () => {
    await logitsIn(caseFolder('llama'));
    const closed = join(folder, 'weights-here');
    await mkdir(closed, { mode: 0o555 });
    await asNobody(async () => {
      const loading = loadModel(caseFolder('llama'), { weights: 'f32', cacheDir: closed });
      await expect(loading).rejects.toThrow(WeightsError);
      await expect(loadModel(caseFolder('llama'), { cacheDir: closed })).rejects.toThrow(
        /the folder can not be written; name another folder \(option cacheDir, environment variable KEYHOLD_CACHE\)/,
      );
    });
    expect(await readdir(closed)).toEqual([]);
  });
});

describe('prepared weights', () => {
  const TINY = 'models/tiny';

  it('are made once for each format, and told about while they are', async () => {
    const told: LoadProgress[] = [];
    const load = (weights: 'f32' | 'int8') =>
      loadModel(TINY, { weights, cacheDir, onProgress: (progress) => told.push(progress) });
    await (await load('f32')).release();
    const [first] = told;
    const last = told.at(-1)!;
    expect(first.stage === 'weights' && last.stage === 'weights' && last.bytes > first.bytes).toBe(true);
    expect(last.stage === 'weights' && last.bytes / last.total).toBeGreaterThan(0.99);
    expect(told.every((one) => one.stage === 'weights' && one.bytes <= one.total)).toBe(true);
    told.length = 0;
    await (await load('f32')).release();
    expect(told).toEqual([]);
    await (await load('int8')).release();
    expect(told.length).toBeGreaterThan(0);
    expect((await entries()).length).toBe(2);
  });

  it('are made anew where they are half-written or gone, and give the same logits', async () => {
    const expected = await logitsIn(caseFolder('llama'));
    const [entry] = await entries();
    const path = join(cacheDir, 'weights', entry);
    for (const damage of [
      () => truncate(join(path, 'weights.bin'), 1000),
      () => truncate(join(path, 'manifest.json'), 10),
      () => rm(join(path, 'manifest.json')),
      () => rm(path, { recursive: true }),
    ]) {
      await damage();
      expect(await logitsIn(caseFolder('llama'))).toEqual(expected);
      expect(await entries()).toEqual([entry]);
    }
    // What a writer left that died is not taken for weights, and is cleared away.
    await rm(path, { recursive: true });
    await mkdir(`${path}.unfinished`);
    await writeFile(join(`${path}.unfinished`, 'weights.bin'), 'half');
    expect(await logitsIn(caseFolder('llama'))).toEqual(expected);
    expect(await entries()).toEqual([entry]);
  });

  it('are made anew where the checkpoint has changed', async () => {
    const copy = await variant('llama', () => {});
    const before = await logitsIn(copy);
    const tensors = await readTensors(join(copy, 'model.safetensors'));
    floatsOf(tensors['model.norm.weight'])[0] += 1;
    // The same size and the same header: only the time tells.
    await writeTensors(join(copy, 'model.safetensors'), tensors);
    await utimes(join(copy, 'model.safetensors'), 1000, 1000);
    const after = await logitsIn(copy);
    expect(after).not.toEqual(before);
    expect((await entries()).length).toBe(2);
  });

  it('are left as if nothing had been where loading is aborted', async () => {
    const reason = new Error('enough');
    await expect(loadModel(TINY, { cacheDir, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const aborter = new AbortController();
    let pieces = 0;
    const loading = loadModel(TINY, {
      cacheDir,
      signal: aborter.signal,
      onProgress: () => {
        if (++pieces === 3) aborter.abort();
      },
    });
    await expect(loading).rejects.toMatchObject({ name: 'AbortError' });
    expect(pieces).toBe(3);
    expect(await entries()).toEqual([]);
    await (await loadModel(TINY, { cacheDir })).release();
    expect((await entries()).length).toBe(1);
  });

  it('are shared by loads at the same time', async () => {
    const told: number[] = [];
    const models = await Promise.all(
      [0, 1, 2].map((id) => loadModel(TINY, { weights: 'f32', cacheDir, onProgress: () => told.push(id) })),
    );
    expect(new Set(told).size).toBe(1);
    const texts = await Promise.all(models.map((model) => model.generate('In the', { maxNewTokens: 4 }).done()));
    expect(new Set(texts.map(({ text }) => text)).size).toBe(1);
    for (const model of models) await model.release();
  });

  it('are shared by processes at the same time', async () => {
    const script = `
      const { loadModel } = await import(${JSON.stringify(pathToFileURL(join(import.meta.dirname, 'node.ts')).href)});
      let pieces = 0;
      const model = await loadModel('models/tiny', { weights: 'f32', cacheDir: process.argv[1], onProgress: () => pieces++ });
      const { text } = await model.generate('In the beginning', { maxNewTokens: 8 }).done();
      await model.release();
      process.stdout.write(JSON.stringify({ made: pieces > 0, text }));`;
    const run = async (): Promise<{ made: boolean; text: string }> => {
      const args = ['--import', 'tsx', '--input-type=module', '-e', script, cacheDir];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.on('data', (data) => {
        output += String(data);
      });
      const [code] = await once(child, 'close');
      expect(code).toBe(0);
      return JSON.parse(output);
    };
    const results = await Promise.all([run(), run()]);
    expect(results[0].text).toBe(results[1].text);
    expect(results[0].text.length).toBeGreaterThan(5);
    expect(results.filter(({ made }) => made).length).toBe(1);
    expect((await entries()).length).toBe(1);
  });
});

/** Bits of the half that a float32 is cut to; what is below a half's normal numbers becomes 0. */
function toHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 112;
  if (exponent <= 0) return sign;
  expect(exponent).toBeLessThan(31);
  return sign | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

/** The float32 of a half that is normal or 0. */
function fromHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  if ((half & 0x7fff) === 0) return sign;
  return sign | ((((half >>> 10) & 0x1f) + 112) << 23) | ((half & 0x3ff) << 13);
}
