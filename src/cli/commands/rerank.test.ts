import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { MORE_CASES } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadReranker } from '../../node.ts';

const folder = await tempFolder('cli-rerank');
await mkdir(join(folder, 'model'));
for (const file of ['config.json', 'model.safetensors'])
  await copyFile(join(MORE_CASES, 'bert-ranker', file), join(folder, 'model', file));
const tokenizer = {
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: { type: 'BertProcessing', cls: ['[CLS]', 90], sep: ['[SEP]', 91] },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    vocab: { ark: 1, flood: 2, raven: 3, '[CLS]': 90, '[SEP]': 91, '[UNK]': 92 },
  },
};
await writeFile(join(folder, 'model', 'tokenizer.json'), JSON.stringify(tokenizer));

describe('keyhold rerank', () => {
  it('writes the texts with their scores, the best first', async () => {
    const model = join(folder, 'model');
    const texts = ['flood', 'raven ark', 'raven'];
    const { code, stdout } = await keyhold(['rerank', '-m', model, 'ark', ...texts]);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    await using reranker = await loadReranker(model);
    expect(lines).toEqual(
      (await reranker.rerank('ark', texts)).map((ranked) => ({ ...ranked, text: texts[ranked.index] })),
    );
    const file = join(folder, 'lines.txt');
    await writeFile(file, texts.join('\n'));
    const best = await keyhold(['rerank', '-m', model, 'ark', '--file', file, '--top', '1']);
    expect(JSON.parse(best.stdout)).toEqual(lines[0]);
  });

  it('asks for a model, since the small one can not rank', async () => {
    const { code, stderr } = await keyhold(['rerank', 'org/model', 'ark', 'flood']);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/the small model can't rank texts: name a model that can/);
  });

  it('says what a model without a head lacks', async () => {
    const { code, stderr } = await keyhold(['rerank', '-m', 'models/tiny', 'ark', 'flood']);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/there is no token "yes"/);
  });
});
