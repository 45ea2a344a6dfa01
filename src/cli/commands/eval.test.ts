import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';

const folder = await tempFolder('eval');

describe('keyhold eval', () => {
  it('takes the model as first argument', async () => {
    const args = ['--window', '64', '--windows', '1', '--json'];
    const { stdout, stderr } = await keyhold(['eval', 'perplexity', 'keyhold/tiny', ...args]);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ windows: 1, tokens: 63 });
    const both = await keyhold(['eval', 'recall', 'keyhold/tiny', '-m', 'keyhold/tiny']);
    expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('there are two models') });
  });

  it('draws a comparison, with the names that policies give themselves', async () => {
    const plot = join(folder, 'compare.svg');
    const policy = join(import.meta.dirname, '../../../test/fixtures/policies-own/newest.mjs');
    const args = [
      '--policies',
      policy,
      '--budgets',
      '0.2',
      '--windows',
      '1',
      '--window',
      '64',
      '--no-cases',
      '--plot',
      plot,
    ];
    const { stdout, stderr } = await keyhold(['eval', 'compare', ...args]);
    expect(stdout).toMatch(/^policy .*\ndense .*\nnewest .*\n$/);
    expect(stderr).toContain('measured on 1 window of text (too few for intervals)');
    expect(await readFile(plot, 'utf8')).toContain('>newest<');
    const png = join(folder, 'compare.PNG');
    await keyhold(['eval', 'compare', ...args.slice(0, -1), png]);
    expect((await readFile(png)).subarray(1, 4).toString()).toBe('PNG');
  });

  it('compares policies that modules are a part of', async () => {
    const path = 'test/fixtures/policies-own/newest.mjs';
    const policies = `ada(${path}):recent=4,mix(h2o, ${path}),mix(h2o, mix(knorm, ${path}))`;
    const flags = ['--policies', policies, '--budgets', '0.2', '--windows', '1', '--window', '64', '--no-cases'];
    const { stdout, stderr } = await keyhold(['eval', 'compare', ...flags, '--chunk-length', '16']);
    expect(stderr).toContain('measured on');
    const names = stdout.split('\n').map((line) => line.split(/ {2,}/)[0]);
    const wanted = ['ada(newest):recent=4', 'mix(h2o, newest)', 'mix(h2o, mix(knorm, newest))'];
    expect(names.slice(1, -1)).toEqual(['dense', ...wanted]);
  });

  it('compares at equal bytes, and writes a Markdown table', async () => {
    const file = join(folder, 'table.md');
    const flags = ['--policies', 'lastrec', '--bytes', '20%', '--windows', '1', '--window', '128', '--no-cases'];
    const { stdout, code } = await keyhold(['eval', 'compare', ...flags, '--divergence', '--markdown', file]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^policy +budget +perplexity +divergence/);
    expect(await readFile(file, 'utf8')).toMatch(/^\| policy \| budget \|.*\n\| --- .*\n\| dense \| all \|/);
    const bad = await keyhold(['eval', 'compare', '--bytes', '5']);
    expect(bad).toMatchObject({ code: 2, stderr: expect.stringContaining('parts such as 5%,10%,20%') });
  });

  it('takes options of one policy behind a colon', async () => {
    const flags = [
      '--budgets',
      '0.2',
      '--windows',
      '1',
      '--window',
      '64',
      '--no-cases',
      '--json',
      '--chunk-length',
      '8',
    ];
    const compared = (policies: string) => keyhold(['eval', 'compare', '--policies', policies, ...flags]);
    const [, plain, own] = JSON.parse((await compared('mix(h2o, knorm),mix(h2o, knorm):recent=9:sinks=0')).stdout);
    expect([plain.policy, own.policy]).toEqual(['mix(h2o, knorm)', 'mix(h2o, knorm):recent=9:sinks=0']);
    expect(own.perplexity).not.toBe(plain.perplexity);
    for (const [wrong, why] of [
      ['h2o:recnt=4', 'recnt'],
      ['h2o:recent=many', '--policies h2o:recent=many: many is no number'],
    ] as const)
      expect(await compared(wrong)).toMatchObject({ code: 2, stderr: expect.stringContaining(why) });
  });

  it('measures the divergence from a dense cache', async () => {
    const flags = ['-p', 'h2o', '-c', '30', '--windows', '1', '--window', '100', '--json'];
    const { stdout } = await keyhold(['eval', 'divergence', ...flags]);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ tokens: 100, windows: 1 });
    expect(result.divergence).toBeGreaterThan(0);
  });

  it('runs the tasks of ruler', async () => {
    const flags = ['--tasks', 'single,variables', '--length', '300', '--cases', '1', '-p', 'h2o', '-c', '60'];
    const { stdout } = await keyhold(['eval', 'ruler', ...flags]);
    expect(stdout).toMatch(/^single +\d+ %.*\nvariables +\d+ %.*\nall +\d+ %/);
    const bad = await keyhold(['eval', 'ruler', '--tasks', 'sing']);
    expect(bad).toMatchObject({ code: 2, stderr: expect.stringContaining('There is no task "sing"') });
  });

  it('refuses a plot that could not be written, before anything is measured', async () => {
    for (const [file, why] of [
      ['x.gif', /plots are SVG or PNG files/],
      ['nowhere/x.svg', /there is no folder .*nowhere/],
    ] as const) {
      const { code, stderr } = await keyhold(['eval', 'compare', '--plot', file]);
      expect(code).toBe(2);
      expect(stderr).toMatch(why);
    }
    const table = await keyhold(['eval', 'compare', '--markdown', folder]);
    expect(table).toMatchObject({ code: 2, stderr: `error: --markdown ${folder} is a folder: name a file\n` });
    await mkdir(join(folder, 'folder.svg'));
    const plot = await keyhold(['calibrate', '--plot', join(folder, 'folder.svg')]);
    expect(plot).toMatchObject({ code: 2, stderr: expect.stringContaining('folder.svg is a folder: name a file') });
  });

  it('names the file that has no cases or passages', async () => {
    const [empty, wrong] = [join(folder, 'empty.jsonl'), join(folder, 'wrong.jsonl')];
    await writeFile(empty, '\n');
    await writeFile(wrong, '{"context":"a"}\n');
    for (const args of [
      ['recall', '--cases'],
      ['compare', '--no-text', '--cases'],
      ['ruler', '--tasks', 'questions', '--passages'],
    ]) {
      const of = (file: string) => keyhold(['eval', ...args, file]);
      expect(await of(empty)).toMatchObject({ code: 1, stderr: `error: ${empty}: there is nothing in it\n` });
      expect((await of(wrong)).stderr).toMatch(/^error: .*wrong\.jsonl: line 1 is not a /);
    }
  });
});
