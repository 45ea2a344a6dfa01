import { existsSync } from 'node:fs';
import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliProcess } from '../../test/support/cli.ts';

let cache: string;
beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'keyhold-process-'));
});
afterAll(() => rm(cache, { recursive: true, force: true }));

const start = (...args: string[]) => new CliProcess(args, { KEYHOLD_CACHE: cache });

const ENDLESS = ['generate', 'And it came to pass', '-n', '1000000', '-c', '32', '--seed', '3'];

describe('the process', () => {
  it('ends with what it was asked for, though stdin stays open', async () => {
    const { code, stdout, stderr } = await start('generate', 'And', '-n', '3', '-q').end();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).not.toBe('');
  });

  it('reads a prompt from a pipe', async () => {
    const process = start('generate', '-n', '3', '--json', '-q');
    process.child.stdin!.end('And it came to pass\n');
    const { code, stdout } = await process.end();
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ promptTokens: 6 });
  });

  it('ends with 2 after wrong usage', async () => {
    const { code, stderr } = await start('generate', '--nope').end();
    expect(code).toBe(2);
    expect(stderr).toContain("unknown option '--nope'");
  });

  it('finishes its sentence when Ctrl-C is pressed', async () => {
    const process = start(...ENDLESS);
    await process.untilOutput(50);
    process.child.kill('SIGINT');
    const { code, stdout, stderr } = await process.end();
    expect(code).toBe(130);
    expect(stdout.endsWith('\n')).toBe(true);
    expect(stderr).toMatch(/not finished\ncache \(lastrec\): .*\nmemory.*\ninterrupted\n$/);
    // What was made beside it is whole.
    for (const name of await readdir(join(cache, 'weights'))) expect(name).toMatch(/^[0-9a-f]{32}$/);
  });

  it('prints a whole object when Ctrl-C is pressed', async () => {
    // The note about --top-k says that the model is ready.
    const process = start(...ENDLESS, '--json', '-t', '0', '--top-k', '2');
    await process.untilErrorOutput();
    process.child.kill('SIGINT');
    const { code, stdout } = await process.end();
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ finishReason: 'aborted', cache: { policy: 'lastrec' } });
  });

  it('says when it is told to end by the system', async () => {
    const process = start(...ENDLESS);
    await process.untilOutput(50);
    process.child.kill('SIGTERM');
    expect((await process.end()).code).toBe(143);
  });

  it('ends by SIGTERM while a long prompt is read, with more threads asked for than there are cores', async () => {
    const prompt = 'And it came to pass in those days. '.repeat(400);
    const process = start('generate', prompt, '-t', '0', '--top-k', '2', '--threads', '100000', '-n', '5');
    await process.untilErrorOutput();
    process.child.kill('SIGTERM');
    const { code, stdout } = await process.end();
    expect({ code, text: stdout.trim() }).toEqual({ code: 143, text: '' });
  });

  it('is silent when nobody reads any more', async () => {
    const process = start(...ENDLESS);
    await process.untilOutput(50);
    process.child.stdout!.destroy();
    const { code, stderr } = await process.end();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it.skipIf(!existsSync('/dev/full'))('says when its results can not be written', async () => {
    const full = await open('/dev/full', 'w');
    const process = new CliProcess(['generate', 'And', '-n', '3', '--json', '-q'], { KEYHOLD_CACHE: cache }, full.fd);
    const { code, stderr } = await process.end();
    await full.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: the output can't be written: ENOSPC.*\n$/);
  });
});
