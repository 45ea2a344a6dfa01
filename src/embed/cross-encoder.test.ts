/**
 * Rerankers as sentence-transformers saves them, and the scores of its CrossEncoder; Qwen3-Reranker as its model card
 * asks it. Made by test/fixtures/make/rerankers.py.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { ConfigError, loadReranker } from '../node.ts';

const FOLDER = join(import.meta.dirname, '../../test/fixtures/rerankers');
const root = await tempFolder('cross-encoder');

interface Expected {
  readonly activation: 'Sigmoid' | 'Identity';
  readonly cases: readonly { query: string; instruction?: string; texts: string[]; scores: number[] }[];
}

describe('rerankers have the scores of sentence-transformers', () => {
  it.each(readdirSync(FOLDER).flatMap((name) => (['ggml', 'onnx'] as const).map((engine) => [name, engine] as const)))(
    '%s on %s',
    async (name, engine) => {
      const folder = join(root, `${name}-${engine}`);
      await cp(join(FOLDER, name), folder, { recursive: true });
      await using model = await loadReranker(folder, { engine, weights: 'float32', cacheDir: join(root, 'cache') });
      const { activation, cases }: Expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'));
      const share = (score: number) => (activation === 'Sigmoid' ? score : 1 / (1 + Math.exp(-score)));
      for (const { query, instruction, texts, scores } of cases) {
        const ranked = await model.rerank(query, texts, instruction === undefined ? {} : { instruction });
        const errors = ranked.map(({ index, score }) => Math.abs(score - share(scores[index])));
        expect(Math.max(...errors), `${query}: ${errors}`).toBeLessThan(2e-5);
        const best = texts.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
        expect(ranked.map(({ index }) => index)).toEqual(best);
      }
    },
  );
});

describe('the files of sentence-transformers beside a reranker', () => {
  /** A copy of a case with changed files. */
  const changed = async (name: string, as: string, files: Readonly<Record<string, unknown>>): Promise<string> => {
    const folder = join(root, as);
    await cp(join(FOLDER, name), folder, { recursive: true });
    for (const [file, content] of Object.entries(files)) {
      await mkdir(join(folder, file, '..'), { recursive: true });
      await writeFile(join(folder, file), JSON.stringify(content));
    }
    return folder;
  };
  const load = (folder: string) => loadReranker(folder, { weights: 'float32', cacheDir: join(root, 'cache') });
  const scoreOf = async (folder: string, query: string, text: string): Promise<number> => {
    await using model = await load(folder);
    return (await model.rerank(query, [text]))[0].score;
  };

  it('may put a prompt before queries, and limit the length of a pair', async () => {
    const settings = { prompts: { query: 'what made ' }, default_prompt_name: 'query' };
    const prompted = await changed('bert', 'prompted', { 'config_sentence_transformers.json': settings });
    const plain = join(FOLDER, 'bert');
    expect(await scoreOf(prompted, 'the light', 'god')).toBe(await scoreOf(plain, 'what made the light', 'god'));
    const short = await changed('bert', 'short', { 'sentence_bert_config.json': { max_seq_length: 8 } });
    expect(await scoreOf(short, 'the light', 'god created heaven and')).toBe(
      await scoreOf(plain, 'the light', 'god created heaven'),
    );
  });

  it('may name the tokens of the answer: others than "yes" and "no" are refused', async () => {
    const files = (ids: object) => ({
      'modules.json': [
        { type: 'sentence_transformers.base.modules.transformer.Transformer', path: '' },
        { type: 'sentence_transformers.cross_encoder.modules.logit_score.LogitScore', path: '1_LogitScore' },
      ],
      '1_LogitScore/config.json': ids,
    });
    const [no, yes] = [256, 258];
    const folder = await changed('qwen3', 'scored', files({ true_token_id: yes, false_token_id: no }));
    expect(await scoreOf(folder, 'light', 'god')).toBe(await scoreOf(join(FOLDER, 'qwen3'), 'light', 'god'));
    const one = await changed('qwen3', 'one', files({ true_token_id: yes }));
    await expect(load(one)).rejects.toThrow(/tokens 258 and null, but only rerankers that answer "yes" or "no"/);
    const bad = await changed('qwen3', 'bad', files({ true_token_id: 'yes' }));
    await expect(load(bad)).rejects.toThrow(ConfigError);
  });
});
