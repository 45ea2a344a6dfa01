import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { Interrupted } from '../io.ts';
import type { BenchReport } from '../output/bench-view.ts';

const FEW = ['--prompt', '24', '--new', '2', '--rounds', '1'];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyhold-bench-'));
  vi.stubEnv('KEYHOLD_CACHE', folder);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

async function report(...args: string[]): Promise<BenchReport> {
  const { code, stdout, stderr } = await keyhold(['bench', '--json', ...FEW, ...args]);
  // Weights that take long to prepare, as on a busy machine, have lines of progress.
  expect({ code, stderr: stderr.replace(/^Preparing weights: .*\n/gm, '') }).toEqual({ code: 0, stderr: '' });
  expect(stdout.split('\n')).toHaveLength(2);
  return JSON.parse(stdout) as BenchReport;
}

describe('keyhold bench', () => {
  it('--quick measures what was asked for', async () => {
    const found = await report('--quick', '--threads', '1', '-p', 'lastrec', '-c', '16', '--chunk-length', '8');
    expect(found).toMatchObject({
      settings: { threads: 1, weights: 'float32', chunkLength: 8, buffer: 'float32' },
      cache: { policy: 'lastrec', cacheLength: 16 },
      speed: { promptTokens: 24, newTokens: 2, rounds: 1, chunkLength: 8 },
      memory: { cacheBytes: 16 * 3072 },
      search: null,
    });
    for (const value of Object.values(found.speed)) expect(value).toBeGreaterThan(0);
    expect(found.memory.peakBytes).toBeGreaterThan(50e6);
    expect(found.memory.estimateBytes).toBeGreaterThan(50e6);
  });

  it('tries what is not said, with formats that are prepared already', async () => {
    await report('--quick', '-w', 'int4', '--threads', '1');
    const { search } = await report('--threads', '1', '-w', 'float32');
    const tried = search!.trials.map(({ threads, weights, buffer }) => `${threads} ${weights} ${buffer}`);
    expect(tried[0]).toBe('1 float32 float32');
    expect(new Set(search!.trials.map(({ weights }) => weights))).toEqual(new Set(['float32', 'int4']));
    expect(new Set(search!.trials.map(({ buffer }) => buffer))).toEqual(new Set(['float32', 'float16', 'int8']));
    // Of chunks that take the whole prompt one is enough: the one asked for, and the shortest.
    expect(new Set(search!.trials.map(({ chunkLength }) => chunkLength))).toEqual(new Set([512, 64]));
    expect(tried.every((text) => text.startsWith('1 '))).toBe(true);
    expect(search!.trials).toContainEqual(search!.fastest);
  });

  it('leaves alone what was asked for', async () => {
    const { search } = await report('--threads', '1', '--chunk-length', '16', '--cache-buffer', 'int8');
    for (const { threads, chunkLength, buffer } of search!.trials)
      expect({ threads, chunkLength, buffer }).toEqual({ threads: 1, chunkLength: 16, buffer: 'int8' });
  });

  it('tells people what it found', async () => {
    const { code, stdout } = await keyhold(['bench', 'models/tiny', '--threads', '1', ...FEW]);
    expect(code).toBe(0);
    for (const label of ['reading', 'writing', 'first token', 'cache', 'memory', 'Medians of 1 round', '← fastest'])
      expect(stdout).toContain(label);
    expect(stdout).toMatch(/Fastest here: --threads 1 --weights|Nothing was notably faster/);
  });

  it('ends where it is interrupted', async () => {
    const control = new AbortController();
    control.abort(new Interrupted(130));
    const { code, stdout, stderr } = await keyhold(['bench', ...FEW], { signal: control.signal });
    expect({ code, stdout, stderr }).toEqual({ code: 130, stdout: '', stderr: 'interrupted\n' });
  });

  it('refuses what can not be meant', async () => {
    const bad: [string[], number, RegExp][] = [
      [['models/tiny', '-m', 'models/tiny'], 2, /two models/],
      [['--rounds', '0'], 2, /whole number of at least 1/],
      [['--prompt', '5000', '--new', '1'], 1, /more than the model's 4096 positions/],
      [['-p', 'dense', '-c', '8', ...FEW], 1, /the dense cache holds/],
      [['-p', 'h2o', '-c', '8', '--cache-option', 'recent=9', ...FEW], 2, /recent/],
      [['./models', ...FEW], 1, /no config\.json/],
      [['test/fixtures/families/esm', ...FEW], 1, /are encoders/],
    ];
    for (const [args, code, message] of bad) {
      const result = await keyhold(['bench', '--quick', ...args]);
      expect({ args, code: result.code, stdout: result.stdout }).toEqual({ args, code, stdout: '' });
      expect(result.stderr).toMatch(message);
    }
  });
});
