import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { CliProcess, keyhold } from '../../../test/support/cli.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { OfflineResult } from '../batch/offline-lines.ts';

const folder = await tempFolder('offline-batch');
const cacheDir = join(folder, 'cache');
beforeAll(() => {
  vi.stubEnv('KEYHOLD_CACHE', cacheDir);
});
afterAll(() => {
  vi.unstubAllEnvs();
});

let [requests, out, count] = ['', '', 0];
beforeEach(() => {
  requests = join(folder, `requests-${++count}.jsonl`);
  out = join(folder, `results-${count}.jsonl`);
});

const line = (i: number, body: object = {}) => ({
  custom_id: `r${i}`,
  method: 'POST',
  url: '/v1/completions',
  body: { model: 'tiny', prompt: `Verse ${i}: And`, max_tokens: 5, ...body },
});
const save = (lines: readonly unknown[]) =>
  writeFile(requests, lines.map((each) => `${JSON.stringify(each)}\n`).join(''));
const read = async (path = out) =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text) as OfflineResult & { response: { body: { choices: { text: string }[] } } });
const flags = () => ['batch', requests, '-o', out, '--name', 'tiny', '--seed', '7'];
const texts = (results: Awaited<ReturnType<typeof read>>) =>
  new Map(results.map(({ custom_id, response }) => [custom_id, response.body.choices?.[0].text]));

describe('keyhold batch', () => {
  it('answers each request once, in OpenAI’s format, and does nothing where the results are there', async () => {
    await save(Array.from({ length: 10 }, (_, i) => line(i)));
    const { code, stderr } = await keyhold(flags());
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('10 requests in') });
    const results = await read();
    expect(results.map(({ custom_id }) => custom_id).sort()).toEqual(Array.from({ length: 10 }, (_, i) => `r${i}`));
    for (const { id, response, error } of results) {
      expect([id, error]).toEqual([`batch_req_${response.request_id}`, null]);
      expect(response).toMatchObject({ status_code: 200, body: { object: 'text_completion', model: 'tiny' } });
    }
    const bytes = await readFile(out, 'utf8');
    expect((await keyhold(flags())).stderr).toContain('is there already');
    const folder = dirname(out);
    const { code: wrong, stderr: said } = await keyhold(['batch', requests, '-o', folder]);
    expect([wrong, said]).toEqual([2, `error: -o ${folder} is a folder: name a file\n`]);
    expect(await readFile(out, 'utf8')).toBe(bytes);
  });

  it('refuses results that could not be written, and those in the file of requests', async () => {
    await save([line(0)]);
    const within = join(requests, 'results.jsonl');
    const below = await keyhold(['batch', requests, '-o', within]);
    expect(below).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        /^error: -o .*results\.jsonl: the folder .*requests.*\.jsonl can't be made: there is a file of this name\n$/,
      ),
    });
    const same = await keyhold(['batch', requests, '-o', relative('.', requests)]);
    expect(same).toMatchObject({ code: 2, stderr: expect.stringContaining('is the file of requests: name another') });
  });

  it('has refusals as results, and says that there are some', async () => {
    await save([line(0), line(1, { temperature: 9 }), line(2, { model: 'other' })]);
    const { code, stderr } = await keyhold(flags());
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('2 requests failed') });
    const status = new Map((await read()).map(({ custom_id, response }) => [custom_id, response.status_code]));
    expect(Object.fromEntries(status)).toEqual({ r0: 200, r1: 400, r2: 404 });
  });

  it('goes on where it was killed: each request has one result, the same as without', {
    timeout: 400_000,
  }, async () => {
    await save(Array.from({ length: 30 }, (_, i) => line(i, { max_tokens: 24, ignore_eos: true })));
    const partial = `${out}.partial`;
    const lines = async () => (await readFile(partial, 'utf8').catch(() => '')).split('\n').length - 1;
    for (const least of [2, 8]) {
      const command = new CliProcess([...flags(), '--parallel', '4'], { KEYHOLD_CACHE: cacheDir });
      await expect.poll(lines, { timeout: 120_000, interval: 5 }).toBeGreaterThan(least);
      command.child.kill('SIGKILL');
      await command.end();
    }
    const before = await lines();
    expect(before).toBeLessThan(30);
    // What a process leaves that is killed while it writes.
    await appendFile(partial, '{"id": "batch_req_x", "custom_id": "r5');
    const { code, stderr } = await keyhold([...flags(), '--parallel', '4']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining(`${before} were there already`) });
    const results = await read();
    expect(results).toHaveLength(30);
    const interrupted = texts(results);
    expect(interrupted.size).toBe(30);
    out = join(folder, 'whole.jsonl');
    await keyhold([...flags(), '--parallel', '4', '-q']);
    expect(texts(await read())).toEqual(interrupted);
  });

  it.each([
    ['no JSON', '{', /line 1 is not JSON/],
    ['no id', JSON.stringify({ ...line(0), custom_id: undefined }), /line 1 is not a request of a batch: custom_id/],
    ['another route', JSON.stringify({ ...line(0), url: '/v1/images' }), /url/],
    ['a stream', JSON.stringify(line(0, { stream: true })), /body\.stream/],
    ['an id twice', `${JSON.stringify(line(0))}\n${JSON.stringify(line(0))}`, /two requests have the custom_id "r0"/],
    ['nothing', '\n', /has no requests/],
  ])('refuses a file with %s before a model is loaded', async (_, text, message) => {
    await writeFile(requests, text);
    const { code, stderr } = await keyhold([...flags(), '-m', 'not-there']);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
  });

  it('refuses results of other requests, and a file that is not there', async () => {
    await save([line(0)]);
    await writeFile(`${out}.partial`, `${JSON.stringify({ custom_id: 'other' })}\n`);
    expect((await keyhold(flags())).stderr).toContain('is not a result of these requests');
    requests = join(folder, 'none.jsonl');
    expect(await keyhold(flags())).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('none.jsonl does not exist'),
    });
  });
});
