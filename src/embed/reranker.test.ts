import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readGolden, rowsOf } from '../../test/parity/case.ts';
import { MORE_CASES } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { ConfigError, InputError, loadModel, loadReranker } from '../node.ts';
import { range } from '../util/numbers.ts';

const root = await tempFolder('rerank');
const options = { weights: 'float32', cacheDir: join(root, 'cache') } as const;

const [CLS, SEP] = [90, 91];
const BERT = { type: 'BertProcessing', cls: ['[CLS]', CLS], sep: ['[SEP]', SEP] };
const tokenizer = (post_processor: unknown) => ({
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor,
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    vocab: {
      ...Object.fromEntries(range(90).map((i) => [`w${i}`, i])),
      ...{ '[CLS]': CLS, '[SEP]': SEP, '[UNK]': 92, yes: 93, no: 94 },
    },
  },
});

async function folderOf(name: string, post: unknown, from = MORE_CASES): Promise<string> {
  const folder = join(root, `${name}-${(post as { type: string } | null)?.type}`);
  await mkdir(folder, { recursive: true });
  for (const file of ['config.json', 'model.safetensors']) await copyFile(join(from, name, file), join(folder, file));
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer(post)));
  return folder;
}

const words = (ids: readonly number[]) => ids.map((id) => `w${id}`).join(' ');
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

describe('a reranker', () => {
  it.each([
    ['bert', 'BertProcessing'],
    ['xlm_roberta', 'RobertaProcessing'],
    ['distilbert', 'RobertaProcessing'],
    ['modernbert', 'RobertaProcessing'],
  ])('has the scores of transformers with %s', async (name, type) => {
    const golden = await readGolden(join(MORE_CASES, `${name}-ranker/expected.safetensors`));
    await using model = await loadReranker(await folderOf(`${name}-ranker`, { ...BERT, type }), options);
    const logits = golden.get('rank_logits')!.data;
    for (const [row, ids] of rowsOf(golden.get('rank_ids')!).entries()) {
      const query = words(ids.slice(1, 4));
      const text = words(ids.slice(type === 'BertProcessing' ? 5 : 6, 9));
      const [{ score }] = await model.rerank(query, [text]);
      expect(score).toBeCloseTo(sigmoid(logits[row]), 5);
    }
  });

  it('puts the best first, whatever the batch', async () => {
    await using model = await loadReranker(await folderOf('bert-ranker', BERT), options);
    const texts = range(9).map((i) => words(range(1 + i).map((j) => (7 * i + 3 * j) % 90)));
    const ranked = await model.rerank('w1 w2', texts);
    expect(ranked.map(({ index }) => index).sort()).toEqual(range(9));
    expect(ranked.map(({ score }) => score)).toEqual(ranked.map(({ score }) => score).sort((a, b) => b - a));
    for (const { index, score } of await model.rerank('w1 w2', texts, { batchSize: 2 }))
      expect(score).toBeCloseTo(ranked.find((text) => text.index === index)!.score, 5);
    expect(await model.rerank('w1', [])).toEqual([]);
  });

  it('cuts a text that is too long', async () => {
    await using model = await loadReranker(await folderOf('bert-ranker', BERT), options);
    const { ids, types } = model.tokenizer.encodePair('w1 w2', words(range(300).map((i) => i % 90)), 128);
    expect([ids.length, types.filter((type) => type === 0).length]).toEqual([128, 4]);
    expect(model.tokenizer.encodePair('w1 w2 w3', 'w4 w5 w6', 7).ids).toEqual([CLS, 1, 2, SEP, 4, 5, SEP]);
    await expect(model.rerank('w1', [words(range(300).map((i) => i % 90))])).resolves.toHaveLength(1);
  });

  it('of a decoder is the share of "yes" in the logits after the question', async () => {
    const folder = await folderOf('qwen3', null, join(MORE_CASES, '../families'));
    await using model = await loadReranker(folder, options);
    await using writer = await loadModel(folder, options);
    const instruction = 'w3';
    const [{ score }] = await model.rerank('w1', ['w2 w5'], { instruction });
    // Marks are tokens of their own in the tokenizer of the real model.
    const parts = [
      '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. ' +
        'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
      '<Instruct>: w3\n<Query>: w1\n<Document>: w2 w5',
      '<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
    ];
    const cache = writer.createCache({ policy: 'dense', cacheLength: 128 });
    const logits = await writer.prefill(
      cache,
      parts.flatMap((part) => writer.tokenizer!.encode(part)),
    );
    expect(score).toBeCloseTo(sigmoid(logits[93] - logits[94]), 4);
  });

  it('is refused after its end', async () => {
    const model = await loadReranker(await folderOf('bert-ranker', BERT), options);
    await model.dispose();
    await expect(model.rerank('w1', ['w2'])).rejects.toThrow(/the model was disposed of/);
    await model.dispose();
  });

  it('refuses models without a head, and what can not be meant', async () => {
    await expect(loadReranker(await folderOf('eurobert', BERT), options)).rejects.toThrow(/eurobert have no head/);
    const bert = loadReranker(await folderOf('bert', BERT), options);
    await expect(bert).rejects.toThrow(ConfigError);
    await expect(bert).rejects.toThrow(/no pooler.dense.weight|no classifier.weight/);
    await using model = await loadReranker(await folderOf('bert-ranker', BERT), options);
    await expect(model.rerank('w1', ['w2'], { instruction: 'w3' })).rejects.toThrow(/read no instruction/);
    await expect(model.rerank('w1', 'w2' as never)).rejects.toThrow(InputError);
    await expect(model.rerank('w1', [5 as never])).rejects.toThrow(/text 0 must be a string/);
  });
});
