import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, expect, it } from 'vitest';
import { CheckpointError } from '../util/errors.ts';
import type { FetchProgress } from './progress.ts';
import { openSource } from './source.ts';

/** No model, but long enough to come in several pieces. */
const BODY = Buffer.alloc(300_000, 'x');

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Loads a file that is no model: what is wrong is told after all of it has come. */
async function load(answer: RequestListener): Promise<{ progress: FetchProgress[]; error: unknown }> {
  const server = createServer(answer);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  closing.push(
    () => server.closeAllConnections(),
    () => server.close(),
  );
  const progress: FetchProgress[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
  const error = await openSource({ kind: 'folder', url }, { onProgress: (each) => progress.push(each) }).then(
    () => null,
    (cause: unknown) => cause,
  );
  return { progress, error };
}

it.each([
  [
    'a length',
    (response: Parameters<RequestListener>[1]) => response.writeHead(200, { 'content-length': BODY.length }).end(BODY),
  ],
  ['no length', (response) => response.writeHead(200).end(BODY)],
  [
    'the length of fewer, compressed bytes',
    (response) => {
      const body = gzipSync(BODY);
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': body.length }).end(body);
    },
  ],
] satisfies [string, (response: Parameters<RequestListener>[1]) => unknown][])(
  'tells no more bytes than there are in all where the server tells %s',
  async (_, answer) => {
    const { progress } = await load((_, response) => answer(response));
    expect(progress.length).toBeGreaterThan(0);
    for (const { bytes, total } of progress) expect(bytes).toBeLessThanOrEqual(total);
  },
);

it('says where a connection broke', async () => {
  const { error } = await load((_, response) => {
    response.writeHead(200, { 'content-length': 2 * BODY.length });
    response.write(BODY);
    setTimeout(() => response.destroy(), 100);
  });
  expect(error).toBeInstanceOf(CheckpointError);
  expect((error as Error).message).toMatch(/model\.gguf: the connection broke after \d+ bytes/);
});
