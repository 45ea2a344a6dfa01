/**
 * Folders as sentence-transformers saves them, and the vectors that it computes: made by
 * test/fixtures/make/embeddings.py.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold } from '../../test/support/cli.ts';
import { furthest } from '../../test/support/furthest.ts';
import { refusals, refused } from '../../test/support/refusals.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { InputError, loadEncoder } from '../node.ts';
import { normalized } from './pooling.ts';

const FOLDER = join(import.meta.dirname, '../../test/fixtures/embeddings');
const CASES = readdirSync(FOLDER).filter((name) => name !== 'model');
const root = await tempFolder('sentence-transformers');
const load = (folder: string) => loadEncoder(folder, { weights: 'float32', cacheDir: join(root, 'cache') });

interface Expected {
  readonly texts: string[];
  readonly promptName: string | null;
  readonly vectors: number[][];
  readonly similarity: number[][];
}
const expected = (name: string): Expected => JSON.parse(readFileSync(join(FOLDER, name, 'expected.json'), 'utf8'));

let folders = 0;
/** The model with the files of one case. */
async function folderOf(name: string): Promise<string> {
  const folder = join(root, `${name}-${folders++}`);
  await mkdir(folder);
  await cp(join(FOLDER, 'model'), folder, { recursive: true });
  await cp(join(FOLDER, name), folder, { recursive: true });
  return folder;
}

async function expectVectors(folder: string, name: string): Promise<void> {
  const { texts, promptName, vectors, similarity } = expected(name);
  await using model = await load(folder);
  const made = await model.embed(texts, promptName === null ? {} : { promptName });
  for (const [i, vector] of vectors.entries()) expect(furthest(made[i], vector), texts[i]).toBeLessThan(2e-5);
  for (const [i, row] of similarity.entries())
    for (const [j, value] of row.entries())
      expect(Math.abs(model.similarity(made[i], made[j]) - value)).toBeLessThan(1e-4 * Math.max(1, Math.abs(value)));
}

describe('folders of sentence-transformers', () => {
  it('are of each pooling, and of modules behind it', () => {
    expect(CASES.length).toBeGreaterThan(10);
  });

  it.each(CASES)('%s: the vectors and similarities of sentence-transformers', async (name) => {
    await expectVectors(await folderOf(name), name);
  });

  it('hold the default prompt, and the names of the others', async () => {
    await using model = await load(await folderOf('without-prompt'));
    const { texts, vectors } = expected('without-prompt');
    expect(Object.keys(model.prompts).sort()).toEqual(['document', 'passage', 'query']);
    expect(furthest((await model.embed([texts[0]]))[0], vectors[0])).toBeLessThan(2e-5);
    expect(model.similarityName).toBe('cosine');
    expect(() => model.similarity([1, 2], [1])).toThrow(InputError);
    expect(await refusals((vector) => model.similarity(vector, [1]))).toEqual(
      refused('similarity needs two vectors as arrays'),
    );
    expect(await refusals((input) => model.encode(input))).toEqual(
      refused('encode needs an object with a list of ids, vectors or images'),
    );
  });

  it('of the layout before version 2 have the model in a folder of its own', async () => {
    const folder = await folderOf('dense');
    await mkdir(join(folder, '0_Transformer'));
    for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
      await rename(join(folder, file), join(folder, '0_Transformer', file));
    await rename(join(folder, 'sentence_bert_config.json'), join(folder, '0_Transformer', 'sentence_bert_config.json'));
    const modules = JSON.parse(readFileSync(join(folder, 'modules.json'), 'utf8'));
    modules[0].path = '0_Transformer';
    await writeFile(join(folder, 'modules.json'), JSON.stringify(modules));
    await expectVectors(folder, 'dense');
  });

  it('give the first numbers of a vector, which has the length 1 again where it had it', async () => {
    await using model = await load(await folderOf('three'));
    const texts = expected('three').texts;
    const whole = await model.embed(texts);
    const cut = await model.embed(texts, { dimensions: 7 });
    for (const [i, vector] of cut.entries())
      expect(furthest(vector, normalized(whole[i].slice(0, 7)))).toBeLessThan(1e-6);
    const [long] = await model.embed(texts, { dimensions: 7, normalize: false });
    const [plain] = await model.embed(texts, { normalize: false });
    expect(furthest(long, plain.slice(0, 7))).toBe(0);
    await expect(model.embed(texts, { dimensions: 49 })).rejects.toThrow(/dimensions is 49, but vectors of .* have 48/);
    await expect(model.embed(texts, { dimensions: 0 })).rejects.toThrow(InputError);
    // What is not normalized by its files is cut alone.
    await using mean = await load(await folderOf('mean'));
    const [uncut] = await mean.embed(texts);
    expect(furthest((await mean.embed(texts, { dimensions: 5 }))[0], uncut.slice(0, 5))).toBe(0);
  });

  it('are embedded by the command, with one of their prompts', async () => {
    const { texts, vectors } = expected('short');
    const folder = await folderOf('short');
    const flags = ['--prompt-name', 'query', '--weights', 'float32'];
    const { code, stdout, stderr } = await keyhold(['embed', folder, ...texts, ...flags]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const [i, line] of stdout.trimEnd().split('\n').entries()) {
      const { index, embedding } = JSON.parse(line);
      expect(index).toBe(i);
      expect(furthest(embedding, vectors[i])).toBeLessThan(2e-5);
    }
  });
});
