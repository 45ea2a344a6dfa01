import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';

const folder = await tempFolder('embed-cli');
const lines = (text: string): { index: number; embedding: number[] }[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('keyhold embed', () => {
  it('prints a line for each text: of the arguments, of a file, of stdin', async () => {
    const texts = ['In the beginning', 'And it came to pass'];
    const { code, stdout, stderr } = await keyhold(['embed', 'keyhold/tiny', ...texts]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const results = lines(stdout);
    expect(results.map(({ index, embedding }) => [index, embedding.length])).toEqual([
      [0, 256],
      [1, 256],
    ]);
    for (const { embedding } of results) expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    expect((await keyhold(['embed', '-m', 'models/tiny', ...texts])).stdout).toBe(stdout);
    const file = join(folder, 'lines.txt');
    await writeFile(file, `${texts[0]}\r\n\r\n${texts[1]}\n`);
    expect((await keyhold(['embed', '--file', file])).stdout).toBe(stdout);
    expect((await keyhold(['embed'], { stdin: texts.join('\n') })).stdout).toBe(stdout);
  });

  it('takes pooling, prompts and the length as it is', async () => {
    const [usual] = lines((await keyhold(['embed', 'keyhold/tiny', 'query: And'])).stdout);
    const [prompted] = lines((await keyhold(['embed', 'keyhold/tiny', 'And', '--prompt', 'query: '])).stdout);
    expect(prompted).toEqual(usual);
    const flags = ['--pooling', 'mean', '--no-normalize', '--batch-size', '1'];
    const [mean] = lines((await keyhold(['embed', 'keyhold/tiny', 'query: And', ...flags])).stdout);
    expect(mean.embedding).not.toEqual(usual.embedding);
    expect(Math.abs(Math.hypot(...mean.embedding) - 1)).toBeGreaterThan(0.1);
  });

  it('refuses what can not be meant', async () => {
    const empty = join(folder, 'empty.txt');
    await writeFile(empty, '\n\n');
    const bad: [string[], number, RegExp][] = [
      [['keyhold/tiny', 'And', '--file', 'lines.txt'], 2, /texts and a --file/],
      [['keyhold/tiny', 'And', '--pooling', 'sum'], 2, /Allowed choices are cls, mean, max, last, weighted-mean/],
      [['keyhold/tiny', 'And', '--prompt-name', 'query'], 1, /has no prompt "query"; there are none/],
      [['--file', join(folder, 'none.txt')], 1, /the text file .*none\.txt does not exist/],
      [['--file', empty], 1, /has no texts/],
      [[], 2, /there are no texts: give them after the model/],
    ];
    for (const [args, code, message] of bad) {
      const result = await keyhold(['embed', ...args]);
      expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: '' });
      expect(result.stderr).toMatch(message);
    }
  });
});
