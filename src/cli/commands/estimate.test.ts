import { describe, expect, it } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';

describe('keyhold estimate', () => {
  it('tells the parts of the peak, and their sum', async () => {
    const { code, stdout, stderr } = await keyhold(['estimate', '--context', '2000']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('keyhold/tiny  llama, 5.28M parameters in float32');
    expect(stdout).toContain('Memory at most, for 2,000 tokens');
    expect(stdout).toMatch(/weights +[\d.]+ (bytes|MB) {2}copies/);
    expect(stdout).toMatch(/21\.1 MB {2}mapped/);
    expect(stdout).toMatch(/cache +6\.14 MB {2}keys and values of 2,000 tokens \(dense\)/);
    for (const label of ['runtime', 'workspace', 'together'])
      expect(stdout).toMatch(new RegExp(`${label} +[\\d.]+ MB`));
  });

  it('takes weights, cache and chunk length', async () => {
    const flags = ['-w', 'int4', '-p', 'h2o', '-c', '512', '--cache-buffer', 'int8', '--chunk-length', '64'];
    const { stdout } = await keyhold(['estimate', 'models/tiny', '--context', '2000', '--json', ...flags]);
    const plan = JSON.parse(stdout);
    expect(plan).toMatchObject({
      model: 'models/tiny',
      format: 'int4',
      cachePolicy: 'h2o',
      cacheLength: 512,
      contextLength: 2000,
      chunkLength: 64,
      cache: 512 * 6 * 2 * 68,
    });
    const { private: copies, mapped } = plan.resident.int4;
    expect(plan.total.int4).toBe(plan.runtime + copies + mapped + plan.cache + plan.bookkeeping + plan.workspace);
    expect(plan.total.int4).toBeLessThan(plan.total.float32);
  });

  it("says that a context is longer than the model's own, unless the cache evicts tokens", async () => {
    const told = /more than the model's own context of 4,096 tokens\. .*--cache-length/;
    expect((await keyhold(['estimate', '--context', '5000'])).stdout).toMatch(told);
    for (const flags of [['--context', '4096'], ['--context', '5000', '-c', '512'], []])
      expect((await keyhold(['estimate', ...flags])).stdout).not.toMatch(told);
  });

  it('is part of inspect', async () => {
    const last = (text: string) =>
      text
        .split('\n')
        .filter((line) => line.includes('together  '))
        .at(-1);
    const flags = ['--context', '1000', '-c', '128'];
    const [one, other] = [await keyhold(['estimate', ...flags]), await keyhold(['inspect', ...flags])];
    expect(last(one.stdout)).toBe(last(other.stdout));
    expect(other.stdout).toContain('The process at most, with weights in float32');
  });

  it('refuses what can not be meant', async () => {
    const bad: [string[], number, RegExp][] = [
      [['models/tiny', '-m', 'models/tiny'], 2, /two models/],
      [['--context', '0'], 2, /--context <n>' argument '0' is invalid/],
      [['--chunk-length', 'x'], 2, /whole number/],
      [['-w', 'int2'], 2, /Allowed choices are auto, float32, int8, int4/],
      [['-p', 'lru'], 2, /no cache policy "lru"/],
      [['./models'], 1, /no config\.json/],
    ];
    for (const [args, code, message] of bad) {
      const result = await keyhold(['estimate', ...args]);
      expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: '' });
      expect(result.stderr).toMatch(message);
    }
  });
});
