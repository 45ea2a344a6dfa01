/**
 * Batches over a queue in Redis: each request has one result, whatever is killed. Skipped where redis-server is not
 * installed.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CliProcess, keyhold } from '../../../test/support/cli.ts';
import { HAS_REDIS, RedisProcess } from '../../../test/support/redis.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { OfflineResult } from './offline-lines.ts';
import { workOnQueue } from './queued-batch.ts';
import { DEAD_MS, RedisQueue } from './redis-queue.ts';

const folder = await tempFolder('queued-batch');
beforeAll(() => {
  vi.stubEnv('KEYHOLD_CACHE', join(folder, 'cache'));
});
afterAll(() => {
  vi.unstubAllEnvs();
});

let count = 0;
async function requestsFile(length: number, body: (i: number) => object = () => ({})) {
  const name = join(folder, `${++count}`);
  const lines = Array.from({ length }, (_, i) => ({
    custom_id: `r${i}`,
    method: 'POST',
    url: '/v1/completions',
    body: { model: 'tiny', prompt: `Verse ${count}.${i}: And`, max_tokens: 4, ...body(i) },
  }));
  await writeFile(`${name}.jsonl`, lines.map((each) => `${JSON.stringify(each)}\n`).join(''));
  return { requests: `${name}.jsonl`, out: `${name}.out.jsonl` };
}
const read = async (path: string) =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text) as OfflineResult & { response: { body: { choices: { text: string }[] } } });
const byId = (results: Awaited<ReturnType<typeof read>>) =>
  new Map(results.map(({ custom_id, response }) => [custom_id, response.body.choices?.[0].text]));

it.each([
  [['batch', '--worker'], '--queue'],
  [['batch', 'x.jsonl', '--worker', '--queue', 'redis://localhost'], 'no file'],
  [['batch'], 'name a file'],
  [['batch', 'x.jsonl'], '-o FILE'],
])('%j is wrong usage', async (args, said) => {
  expect(await keyhold(args)).toMatchObject({ code: 2, stderr: expect.stringContaining(said) });
});

it('a queue that cannot be reached is told, without the password', async () => {
  const { requests, out } = await requestsFile(1);
  const ask = (queue: string) => keyhold(['batch', requests, '-o', out, '--queue', queue]);
  const { code, stderr } = await ask('redis://user:secret@127.0.0.1:1');
  expect([code, stderr.includes('127.0.0.1:1'), stderr.includes('secret')]).toEqual([1, true, false]);
  expect((await ask('http://localhost')).stderr).toContain('redis://localhost:6379');
});

describe.skipIf(!HAS_REDIS)('with Redis', () => {
  let redis: RedisProcess;
  beforeAll(async () => {
    redis = await RedisProcess.start(folder);
  });
  afterAll(() => redis.kill());

  const collect = (file: { requests: string; out: string }) =>
    keyhold(['batch', file.requests, '-o', file.out, '--queue', redis.url, '--seed', '7']);
  const workerArgs = () => ['batch', '--worker', '--queue', redis.url, '--name', 'tiny'];

  it('two workers write what one process does, and a second run finds the results', async () => {
    const file = await requestsFile(24, (i) => (i === 5 ? { temperature: 9 } : {}));
    const workers = [1, 2].map(() => new CliProcess(workerArgs()));
    try {
      const { code, stderr } = await collect(file);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('1 request failed') });
      const results = await read(file.out);
      expect(results).toHaveLength(24);
      const alone = { ...file, out: `${file.out}.alone` };
      await keyhold(['batch', file.requests, '-o', alone.out, '--name', 'tiny', '--seed', '7']);
      expect(byId(results)).toEqual(byId(await read(alone.out)));
      // The results are in Redis for a day.
      const again = { ...file, out: `${file.out}.again` };
      await collect(again);
      expect(byId(await read(again.out))).toEqual(byId(results));
      for (const worker of workers) worker.child.kill('SIGTERM');
      for (const worker of workers) expect((await worker.end()).stderr).toContain('requests for tiny are answered');
    } finally {
      for (const { child } of workers) child.kill('SIGKILL');
    }
  });

  it(
    'a worker and Redis are killed, and each request has one result',
    async () => {
      const file = await requestsFile(160, () => ({ max_tokens: 12 }));
      const workers = [1, 2].map(() => new CliProcess(workerArgs()));
      const collecting = collect(file);
      try {
        // Batches that are whole expire.
        const done = () =>
          redis.use(async (client) => {
            for (const key of await client.keys('keyhold:batch:*:done'))
              if ((await client.ttl(key)) < 0) return client.scard(key);
            return 0;
          });
        await expect.poll(done, { timeout: 60_000, interval: 100 }).toBeGreaterThan(10);
        workers[0].child.kill('SIGKILL');
        await redis.kill();
        await new Promise((resolve) => setTimeout(resolve, 500));
        await redis.start();
        await expect.poll(done, { timeout: 60_000, interval: 100 }).toBeGreaterThan(40);
        await redis.kill();
        await redis.start();
        // What the killed worker had is taken by the other one after DEAD_MS.
        const { code, stderr } = await collecting;
        expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('160 requests in') });
        const results = await read(file.out);
        expect(results.map(({ custom_id }) => custom_id).sort()).toEqual(
          Array.from({ length: 160 }, (_, i) => `r${i}`).sort(),
        );
        expect(results.every(({ response }) => response.status_code === 200)).toBe(true);
      } finally {
        for (const { child } of workers) child.kill('SIGKILL');
      }
    },
    DEAD_MS + 150_000,
  );

  it('a Redis that has lost everything gets the requests again', async () => {
    const file = await requestsFile(4);
    const collecting = collect(file);
    const queued = () => redis.use((client) => client.xlen('keyhold:requests:tiny'));
    await expect.poll(queued, { timeout: 30_000 }).toBe(4);
    await redis.use((client) => client.flushall());
    await expect.poll(queued, { timeout: 30_000 }).toBe(4);
    const worker = await keyhold([...workerArgs(), '--until-empty']);
    expect(worker.stderr).toContain('4 requests in');
    expect((await collecting).code).toBe(0);
    expect(await read(file.out)).toHaveLength(4);
  });

  it('a request that is finished twice has one result, and one that ends its workers is refused', async () => {
    const queue = await RedisQueue.open(redis.url);
    try {
      const request = (id: string) => ({ batch: 'b', customId: id, request: '{}' });
      expect(await queue.add('b', 'other', [request('x'), request('y')])).toBe(2);
      expect(await queue.add('b', 'other', [request('x'), request('y')])).toBe(0);
      expect(await queue.take('other', 1, 10)).toEqual([]);
      const [x, y] = await queue.take('other', 2, 10);
      await queue.finish('other', x, '{"custom_id":"x","from":1}');
      await queue.finish('other', x, '{"custom_id":"x","from":2}');
      expect((await queue.results('b', '0')).map(({ result }) => result)).toEqual(['{"custom_id":"x","from":1}']);
      for (let i = 0; i < 5; i++) {
        await queue.giveBack('other', y);
        const [again] = await queue.take('other', 1, 10);
        expect(again.deliveries).toBe(i + 2);
      }
      await queue.giveBack('other', y);
      const results: OfflineResult[] = [];
      await workOnQueue({
        ...{ url: redis.url, model: 'other', parallel: 1, untilEmpty: true, signal: new AbortController().signal },
        answer: () => expect.fail('it is not answered'),
        onResult: (result) => results.push(result),
      });
      expect(results).toMatchObject([{ custom_id: 'y', response: { status_code: 500 } }]);
    } finally {
      queue.close();
    }
  });
});
