import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { caseFolder, MORE_CASES } from '../../test/support/family-cases.ts';
import { furthest } from '../../test/support/furthest.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { openCheckpoint } from '../load/load-model-node.ts';
import { type EncoderModel, InputError, loadEncoder, loadModel } from '../node.ts';
import { range } from '../util/numbers.ts';
import type { EmbedOptions } from './encoder-model.ts';
import { normalized, pool } from './pooling.ts';

const root = await tempFolder('embed');
const cacheDir = join(root, 'cache');
const load = (model: string) => loadEncoder(model, { weights: 'float32', cacheDir });

const CLS = 90;
const SEP = 91;
/** Words w0 … w89, and marks around a text, as BERT has them. */
const TOKENIZER = {
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: { type: 'BertProcessing', cls: ['[CLS]', CLS], sep: ['[SEP]', SEP] },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    vocab: { ...Object.fromEntries(range(90).map((i) => [`w${i}`, i])), '[CLS]': CLS, '[SEP]': SEP, '[UNK]': 92 },
  },
};

let folders = 0;
/** A case with a tokenizer, and files of sentence-transformers. */
async function encoderFolder(name: string, files: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const folder = join(root, `${name}-${folders++}`);
  await mkdir(join(folder, '1_Pooling'), { recursive: true });
  for (const file of ['config.json', 'model.safetensors'])
    await copyFile(join(MORE_CASES, name, file), join(folder, file));
  for (const [file, content] of Object.entries({ 'tokenizer.json': TOKENIZER, ...files }))
    await writeFile(join(folder, file), JSON.stringify(content));
  return folder;
}

const modules = (...kinds: string[]) =>
  kinds.map((kind, i) => ({ path: i === 0 ? '' : `${i}_${kind}`, type: `sentence_transformers.models.${kind}` }));

const words = (...ids: number[]) => ids.map((id) => `w${id}`).join(' ');
const TEXTS = [words(5), words(...range(30)), words(7, 3, 9), '', words(...range(60).reverse()), words(1, 2)];

async function expectSameAlone(model: EncoderModel, texts: readonly string[], options: EmbedOptions): Promise<void> {
  const together = await model.embed(texts, options);
  expect(together.length).toBe(texts.length);
  for (const [i, text] of texts.entries()) {
    const [alone] = await model.embed([text], options);
    expect(furthest(together[i], alone)).toBeLessThan(1e-5);
  }
}

describe('an encoder of texts', () => {
  it.each(['bert', 'modernbert'])('embeds with %s: the mean of the states, of length 1', async (name) => {
    await using model = await load(await encoderFolder(name));
    expect(model.pooling).toBe('mean');
    const [vector] = await model.embed([words(7, 3, 9)]);
    const { data } = await model.encode({ ids: [[CLS, 7, 3, 9, SEP]] });
    const mean = range(32).map((i) => range(5).reduce((sum, t) => sum + data[t * 32 + i], 0) / 5);
    const length = Math.hypot(...mean);
    expect(
      furthest(
        vector,
        mean.map((x) => x / length),
      ),
    ).toBeLessThan(1e-6);
    const [plain] = await model.embed([words(7, 3, 9)], { pooling: 'cls', normalize: false });
    expect(furthest(plain, data.slice(0, 32))).toBeLessThan(1e-6);
    for (const batchSize of [2, 32]) await expectSameAlone(model, TEXTS, { normalize: false, batchSize });
  });

  it('leaves out the end of a text that is too long, and keeps what stands behind it', async () => {
    await using model = await load(await encoderFolder('bert'));
    expect(model.maxLength).toBe(128);
    const ids = range(200).map((i) => (7 * i) % 90);
    const [long] = await model.embed([words(...ids)], { normalize: false });
    const { data } = await model.encode({ ids: [[CLS, ...ids.slice(0, 126), SEP]] });
    expect(furthest(long, pool(data, 32, 'mean'))).toBeLessThan(1e-6);
    const files = { 'sentence_bert_config.json': { max_seq_length: 16 } };
    await using short = await load(await encoderFolder('bert', files));
    expect(short.maxLength).toBe(16);
    expect(
      furthest((await short.embed([words(...ids)]))[0], (await model.embed([words(...ids.slice(0, 14))]))[0]),
    ).toBeLessThan(1e-6);
  });

  it('follows modules.json', async () => {
    const files = {
      'modules.json': modules('Transformer', 'Pooling'),
      '1_Pooling/config.json': { pooling_mode_cls_token: true },
    };
    await using model = await load(await encoderFolder('bert', files));
    expect(model.pooling).toBe('cls');
    const { data } = await model.encode({ ids: [[CLS, 4, SEP]] });
    expect(furthest((await model.embed(['w4']))[0], data.slice(0, 32))).toBeLessThan(1e-6);
    const unit = normalized(data.slice(0, 32));
    expect(furthest((await model.embed(['w4'], { normalize: true }))[0], unit)).toBeLessThan(1e-6);
    const withNorm = { ...files, 'modules.json': modules('Transformer', 'Pooling', 'Normalize') };
    await using normal = await load(await encoderFolder('bert', withNorm));
    expect(furthest((await normal.embed(['w4']))[0], unit)).toBeLessThan(1e-6);
    expect(furthest((await normal.embed(['w4'], { normalize: false }))[0], data.slice(0, 32))).toBeLessThan(1e-6);
  });

  it('puts prompts before texts', async () => {
    const files = { 'config_sentence_transformers.json': { prompts: { query: 'w8 w9 ' }, default_prompt_name: null } };
    await using model = await load(await encoderFolder('bert', files));
    const [plain] = await model.embed(['w8 w9 w4']);
    expect((await model.embed(['w4'], { promptName: 'query' }))[0]).toEqual(plain);
    expect((await model.embed(['w4'], { prompt: 'w8 w9 ' }))[0]).toEqual(plain);
    expect(furthest((await model.embed(['w4']))[0], plain)).toBeGreaterThan(1e-3);
    await expect(model.embed(['w4'], { promptName: 'passage' })).rejects.toThrow(
      /no prompt "passage"; there are query/,
    );
    await expect(model.embed(['w4'], { promptName: 'query', prompt: '' })).rejects.toThrow(/two prompts/);
    const excluding = {
      'modules.json': modules('Transformer', 'Pooling'),
      '1_Pooling/config.json': { pooling_mode_mean_tokens: true, include_prompt: false },
      'config_sentence_transformers.json': { prompts: { query: 'w8 w9 ' }, default_prompt_name: 'query' },
    };
    await using without = await load(await encoderFolder('bert', excluding));
    const { data } = await model.encode({ ids: [[CLS, 8, 9, 4, SEP]] });
    const own = pool(data.slice(3 * 32), 32, 'mean');
    expect(furthest((await without.embed(['w4']))[0], own)).toBeLessThan(1e-6);
  });

  it('takes token ids as they are', async () => {
    const prompts = { prompts: { query: 'w8 w9 ' }, default_prompt_name: 'query' };
    await using model = await load(await encoderFolder('bert', { 'config_sentence_transformers.json': prompts }));
    const ids = [[CLS, 5, 6, SEP], [7, 3, 9], [...range(60).reverse()]];
    const vectors = await model.embed([ids[0], 'w4', ids[1], Int32Array.from(ids[2]) as never], { prompt: '' });
    const [text] = await model.embed(['w4'], { prompt: '' });
    for (const [i, own] of [ids[0], [CLS, 4, SEP], ids[1], ids[2]].entries()) {
      const { data } = await model.encode({ ids: [own] });
      expect(furthest(vectors[i], normalized(pool(data, 32, 'mean')))).toBeLessThan(1e-5);
    }
    expect(furthest(vectors[1], text)).toBeLessThan(1e-5);
    // The default prompt is for texts.
    expect(furthest((await model.embed([ids[1]]))[0], vectors[2])).toBeLessThan(1e-5);
    for (const [wrong, message] of [
      [[1, -1], /text 1: -1 is no token id: they are whole numbers below 97/],
      [[99], /text 1: 99 is no token id/],
      [['w1'], /text 1: "w1" is no token id/],
      [[], /text 1 has no tokens/],
      [range(200).map(() => 1), /text 1 has 200 tokens, but .* takes 128 at most/],
    ] as const)
      await expect(model.embed(['w1', wrong as never])).rejects.toThrow(message);
  });

  it('is refused after its end', async () => {
    const model = await load(await encoderFolder('bert'));
    await model.dispose();
    await expect(model.embed(['a text'])).rejects.toThrow(/the model was disposed of/);
    await model.dispose();
  });

  it('refuses what can not be meant, and ends by a signal', async () => {
    await using model = await load(await encoderFolder('bert'));
    const bad: [unknown, object, RegExp][] = [
      ['w1', {}, /must be a list/],
      [[1], {}, /text 0 must be a string or a list of token ids, but is a number/],
      [['w1'], { pooling: 'sum' }, /no pooling "sum"/],
      [['w1'], { poling: 'cls' }, /did you mean pooling/],
      [['w1'], { batchSize: 0 }, /batchSize must be a whole number/],
    ];
    for (const [texts, options, message] of bad) {
      const error = await model.embed(texts as string[], options).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(InputError);
      expect((error as Error).message).toMatch(message);
    }
    expect(await model.embed([])).toEqual([]);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(model.embed(['w1'], { signal })).rejects.toThrow('enough');
    await using bare = await load(join(MORE_CASES, 'bert'));
    await expect(bare.embed(['w1'])).rejects.toThrow(/no tokenizer\.json/);
    expect((await bare.encode({ ids: [[1, 2]] })).shape).toEqual([1, 2, 32]);
  });
});

describe('a decoder', () => {
  it('embeds by the state of the last token', async () => {
    await using model = await load('keyhold/tiny');
    expect(model.pooling).toBe('last');
    const texts = ['In the beginning', 'The sons of Dan, by their families', 'And', 'And it came to pass'];
    const [vector] = await model.embed(texts);
    const ids = model.tokenizer.encode(texts[0]);
    const { data, shape } = await model.encode({ ids: [ids] }, { output: 'hidden' });
    expect(shape).toEqual([1, ids.length, 256]);
    expect(furthest(vector, normalized(data.slice(-256)))).toBeLessThan(1e-6);
    await expectSameAlone(model, texts, {});
  });

  it.each(['keyhold/tiny', 'mistral', 'qwen2'])('has the states that %s makes its logits of', async (name) => {
    const path = name.includes('/') ? name : caseFolder(name);
    const ids = [5, 17, 23, 8, 11, 20, 12, 24, 7, 29];
    await using model = await load(path);
    const { data, shape } = await model.encode({ ids: [ids] });
    await using decoder = await loadModel(path, { weights: 'float32', cacheDir });
    const { logits } = await decoder.step(decoder.createCache(), [ids], { logits: 'all' });
    const checkpoint = await openCheckpoint(path);
    const head = checkpoint.tensors.get('lm_head.weight') ?? checkpoint.tensors.get('model.embed_tokens.weight')!;
    const [rows, width] = head.shape;
    const weight = await head.readFloats(0, rows * width);
    await checkpoint.close();
    expect(shape).toEqual([1, ids.length, width]);
    const made = Float32Array.from({ length: ids.length * rows }, (_, n) => {
      const [t, row] = [Math.floor(n / rows), n % rows];
      let sum = 0;
      for (let i = 0; i < width; i++) sum += weight[row * width + i] * data[t * width + i];
      return sum;
    });
    expect(furthest(made, logits)).toBeLessThan(2e-4);
  });

  it('is refused by name where it has other layers than attention', async () => {
    for (const [name, message] of [
      ['mamba', /mamba models can't embed: they have mamba-1/],
      ['deepseek_v3', /deepseek_v3 models can't embed: they have mla/],
    ] as const) {
      const error = await load(caseFolder(name)).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(InputError);
      expect((error as Error).message).toMatch(message);
    }
    const live = loadEncoder('keyhold/tiny', { cacheDir, adapters: [{ path: 'keyhold/tiny-jargon', live: true }] });
    await expect(live).rejects.toThrow(/leave "live" of tiny-jargon out/);
    await expect(loadEncoder('keyhold/tiny', { generationConfig: true } as object)).rejects.toThrow(/no option/);
  });
});
