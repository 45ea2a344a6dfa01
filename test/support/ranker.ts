/**
 * @file A folder with a small model that ranks texts of three words.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MORE_CASES } from './family-cases.ts';

const TOKENIZER = {
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: { type: 'BertProcessing', cls: ['[CLS]', 90], sep: ['[SEP]', 91] },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    vocab: { ark: 1, flood: 2, raven: 3, '[CLS]': 90, '[SEP]': 91, '[UNK]': 92 },
  },
};

/** Its words are ark, flood and raven. @param folder is made. @returns it. */
export async function makeRanker(folder: string): Promise<string> {
  await mkdir(folder);
  for (const file of ['config.json', 'model.safetensors'])
    await copyFile(join(MORE_CASES, 'bert-ranker', file), join(folder, file));
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(TOKENIZER));
  return folder;
}
