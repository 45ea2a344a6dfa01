import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { makeRanker } from '../../../test/support/ranker.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadReranker } from '../../node.ts';

const folder = await tempFolder('cli-rerank');
const model = await makeRanker(join(folder, 'model'));

describe('keyhold rerank', () => {
  it('writes the texts with their scores, the best first', async () => {
    const texts = ['flood', 'raven ark', 'raven'];
    const { code, stdout } = await keyhold(['rerank', '-m', model, 'ark', ...texts]);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    await using reranker = await loadReranker(model);
    expect(lines).toEqual(
      (await reranker.rerank('ark', texts)).map(({ index, score }) => ({ index, score, text: texts[index] })),
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
