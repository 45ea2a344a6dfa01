/**
 * A server whose engine's thread ends: requests get an error that says so, and the next ones are answered.
 */
import { expect, it } from 'vitest';
import { eventsOf, post } from '../../../test/support/served.ts';
import { loadModelInWorker } from '../../node.ts';
import { createApp } from '../app.ts';
import { FairQueue } from '../queue.ts';
import { ServedModel } from '../served-model.ts';

it('an engine that has ended is started again', async () => {
  const losses: unknown[] = [];
  const served = new ServedModel(await loadModelInWorker(), {
    id: 'tiny',
    cacheClasses: [{ name: 'default', options: { policy: 'dense', cacheLength: 512 } }],
    rows: 4,
    queue: 16,
    queueMs: 600_000,
    maxTokens: 400,
    sessions: 4,
    store: null,
    onLoss: (_, error) => losses.push(error),
    reload: () => loadModelInWorker(),
  });
  try {
    const app = createApp({ models: [served] });
    const ask = (more: object = {}, headers = {}) =>
      app.fetch(
        post(
          '/v1/completions',
          { model: 'tiny', prompt: 'And it came', max_tokens: 6, temperature: 0, ...more },
          headers,
        ),
      );
    const session = { 'x-session-id': 'talk' };
    const before = await (await ask({}, session)).json();
    const stream = await ask({ stream: true, max_tokens: 400, ignore_eos: true });
    // A policy's module that ends the thread.
    const crash = { policyModule: 'data:text/javascript,process.exit(3)' } as object;
    await Promise.resolve(served.model.createCache(crash)).catch(() => undefined);
    const events = await eventsOf(stream);
    expect(events).not.toContain('[DONE]');
    expect(JSON.parse(events.at(-1)!).error).toMatchObject({ code: 'engine_failed', type: 'overloaded_error' });
    const after = await (await ask({}, session)).json();
    expect(after.choices).toEqual(before.choices);
    expect(served.restarts).toBe(1);
    expect([served.queue.running, served.queue.waiting]).toEqual([0, 0]);
    const text = await (await app.fetch(new Request('http://localhost/metrics'))).text();
    expect(text).toContain('keyhold_engine_restarts_total{model_name="tiny"} 1');
  } finally {
    await served.model.dispose();
  }
});

it('keys share the rows by tokens', async () => {
  const queue = new FairQueue(1, 100, 1000);
  const { signal } = new AbortController();
  const release = await queue.enter('a', signal);
  const order: string[] = [];
  const wait = (key: string, cost: number) =>
    queue.enter(key, signal, { tokens: cost, bytes: 0 }).then((free) => {
      order.push(key);
      free();
    });
  const all = [
    ...Array.from({ length: 4 }, () => wait('long', 1000)),
    ...Array.from({ length: 16 }, () => wait('short', 100)),
  ];
  release();
  await Promise.all(all);
  // A long request for ten short ones.
  expect(order.indexOf('long')).toBeGreaterThanOrEqual(8);
  expect(order.indexOf('long')).toBeLessThanOrEqual(11);
  expect(order.filter((key) => key === 'long')).toHaveLength(4);
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
});

it('requests wait until their caches fit into the memory', async () => {
  const queue = new FairQueue(8, 100, 1000, 100);
  const { signal } = new AbortController();
  const enter = (key: string, bytes: number) => queue.enter(key, signal, { tokens: 1, bytes });
  const first = await enter('a', 60);
  const order: string[] = [];
  const wait = (key: string, bytes: number) =>
    enter(key, bytes).then((free) => {
      order.push(key);
      return free;
    });
  const all = [wait('b', 90), wait('c', 5)];
  await new Promise((resolve) => setTimeout(resolve, 10));
  // The small one does not overtake the large one, which would wait without end.
  expect(order).toEqual([]);
  expect(queue.bytes).toBe(60);
  first();
  for (const free of await Promise.all(all)) free();
  expect(order).toEqual(['b', 'c']);
  await expect(enter('a', 101)).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
  expect([queue.running, queue.waiting, queue.bytes]).toEqual([0, 0, 0]);
});
