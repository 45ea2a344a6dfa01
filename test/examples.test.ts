/**
 * Runs every file of examples/ against the sources.
 */
import { once } from 'node:events';
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ExampleFolder, finished, ROOT } from './support/example-folder.ts';

const FILES = await readdir(join(ROOT, 'examples'));
const codeOf = (file: string) => readFile(join(ROOT, 'examples', file), 'utf8');

let folder: ExampleFolder;
beforeAll(async () => {
  folder = await ExampleFolder.create();
});
afterAll(() => folder.remove());

async function run(file: string, args: readonly string[] = [], input?: string): Promise<string> {
  const { code, output } = await folder.runModule(file, await codeOf(file), args, input);
  expect(code, output).toBe(0);
  return output;
}

/** What each example is run with, and what it must print. */
const RUNS: Readonly<Record<string, () => Promise<void>>> = {
  'stream.mjs': async () => {
    expect(await run('stream.mjs', ['In the beginning'])).toMatch(
      /^In the beginning.*\n\d+ tokens \((length|eos)\), \d+ a second\n$/s,
    );
  },
  'chat.mjs': async () => {
    const output = await run('chat.mjs', [], 'Who was Moses?\nAnd his brother?\n');
    expect(output.trim().split('\n').length).toBeGreaterThanOrEqual(2);
  },
  'batch-from-file.mjs': async () => {
    await writeFile(join(folder.path, 'prompts.txt'), 'In the beginning\n\nAnd Moses\nThe king\nA\nB\nC\n');
    const lines = (await run('batch-from-file.mjs'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ id }) => id).sort()).toEqual([0, 1, 2, 3, 4, 5]);
    for (const { text } of lines) expect(text.length).toBeGreaterThan(20);
  },
  'long-document.mjs': async () => {
    const text = await readFile(join(ROOT, 'models/tiny/validation.txt'), 'utf8');
    await writeFile(join(folder.path, 'document.txt'), text.slice(0, 8000));
    const output = await run('long-document.mjs');
    const [, seen, held] = /^the document has (\d+) tokens, of which (\d+) are kept\n/.exec(output)!;
    expect(Number(seen)).toBeGreaterThan(1000);
    expect(Number(held)).toBe(512);
    await access(join(folder.path, 'document.txt.cache'));
    expect(await run('long-document.mjs', ['document.txt', '\nIt is about'])).toContain(`has ${seen} tokens`);
  },
  'own-policy.mjs': async () => {
    const positions = (await run('own-policy.mjs')).trim().split(' ').map(Number);
    expect(positions).toHaveLength(64);
    expect(positions.slice(0, 4)).toEqual([0, 1, 2, 3]);
    for (let position = 0; position <= positions.at(-1)!; position += 4) expect(positions).toContain(position);
  },
  'compare.mjs': async () => {
    const output = await run('compare.mjs');
    expect(
      output
        .trim()
        .split('\n')
        .map((line) => line.split(' ')[0]),
    ).toEqual(['dense', 'lastrec', 'lastrec', 'h2o', 'h2o', 'keydiff', 'keydiff']);
    expect(await readFile(join(folder.path, 'compare.svg'), 'utf8')).toMatch(/^<svg /);
  },
  'worker.mjs': async () => {
    const [, ticks] = /did something else (\d+) times/.exec(await run('worker.mjs'))!;
    expect(Number(ticks)).toBeGreaterThan(2);
  },
  'adapter-per-request.mjs': async () => {
    const texts = (await run('adapter-per-request.mjs')).trim();
    for (const id of ['plain', 'jargon', 'half']) expect(texts).toMatch(new RegExp(`^${id}: .+`, 'm'));
    expect(/plain: (.*)/.exec(texts)![1]).not.toBe(/jargon: (.*)/.exec(texts)![1]);
  },
  'http-route.mjs': async () => {
    const child = await folder.startModule('http-route.mjs', await codeOf('http-route.mjs'), [], { PORT: '0' });
    const end = finished(child);
    let said = '';
    child.stdout!.on('data', (text: string) => {
      said += text;
    });
    while (!said.includes('port')) await once(child.stdout!, 'data');
    const url = `http://localhost:${/port: (\d+)/.exec(said)![1]}`;
    const leaves = new AbortController();
    const response = await fetch(url, { method: 'POST', body: 'And it came to pass', signal: leaves.signal });
    await response.body!.getReader().read();
    leaves.abort();
    while (!said.includes('the client has gone')) await once(child.stdout!, 'data');
    const whole = await (await fetch(url, { method: 'POST', body: 'And it came to pass' })).text();
    expect(whole.length).toBeGreaterThan(20);
    child.kill('SIGTERM');
    expect((await end).code).toBe(0);
  },
};

describe('examples', () => {
  it('each have a test, are short, and are named by docs/recipes.md', async () => {
    expect(Object.keys(RUNS).sort()).toEqual([...FILES].sort());
    const recipes = await readFile(join(ROOT, 'docs/recipes.md'), 'utf8');
    for (const file of FILES) {
      expect((await codeOf(file)).split('\n').length, file).toBeLessThanOrEqual(42);
      expect(recipes).toContain(`](../examples/${file})`);
    }
  });

  it.each(Object.entries(RUNS))('%s', async (_, test) => test());
});
