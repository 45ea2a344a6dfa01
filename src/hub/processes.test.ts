import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { builtUrl } from '../../test/support/built.ts';
import { HubServer } from '../../test/support/hub-server.ts';
import { f32, safetensorsFile } from '../../test/support/safetensors-bytes.ts';

const weights = safetensorsFile({
  a: f32(
    [200_000],
    Array.from({ length: 200_000 }, (_, i) => i),
  ),
});
const script = `
  const { downloadFromHub } = await import('${builtUrl(join(import.meta.dirname, 'hub-node.ts'))}');
  const onProgress = ({ fileBytes }) => process.stdout.write(fileBytes + '\\n');
  const [endpoint, cacheDir] = process.argv.slice(1);
  process.stdout.write('done ' + (await downloadFromHub('org/tiny', { endpoint, cacheDir, token: false, onProgress })));
`;

let server: HubServer;
let cacheDir: string;
beforeEach(async () => {
  server = await HubServer.start();
  const files = {
    'config.json': { content: new TextEncoder().encode('{}') },
    'model.safetensors': { content: weights, lfs: true },
  };
  server.repos.set('org/tiny', { commits: { ['a'.repeat(40)]: files }, refs: { main: 'a'.repeat(40) } });
  cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-processes-'));
});
afterEach(async () => {
  await server.close();
  await rm(cacheDir, { recursive: true, force: true });
});

function start(): ChildProcess {
  const args = ['--input-type=module', '-e', script, server.endpoint, cacheDir];
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function finish(child: ChildProcess): Promise<string> {
  let output = '';
  child.stdout?.on('data', (data) => {
    output += String(data);
  });
  const [code] = await once(child, 'close');
  expect(code).toBe(0);
  return output.slice(output.indexOf('done ') + 5);
}

const cdnRequests = () => server.requests.filter(({ host }) => host === 'cdn');

it('lets processes share one download', async () => {
  server.faults.delayMs = 20;
  const [one, two] = await Promise.all([finish(start()), finish(start())]);
  expect(one).toBe(two);
  expect(await readFile(join(one, 'model.safetensors'))).toEqual(Buffer.from(weights));
  expect(cdnRequests()).toHaveLength(1);
});

it('continues after a process was killed', async () => {
  server.faults.delayMs = 100;
  const victim = start();
  await new Promise<void>((resolve) => {
    victim.stdout?.on('data', (data) => {
      if (
        String(data)
          .split('\n')
          .some((bytes) => Number(bytes) > 100_000)
      )
        resolve();
    });
  });
  victim.kill('SIGKILL');
  await once(victim, 'close');
  server.faults.delayMs = 0;
  const folder = await finish(start());
  expect(await readFile(join(folder, 'model.safetensors'))).toEqual(Buffer.from(weights));
  expect(Number(/^bytes=(\d+)-$/.exec(cdnRequests().at(-1)?.range ?? '')?.[1])).toBeGreaterThan(0);
  expect(await readdir(join(cacheDir, '.locks', 'models--org--tiny'))).toEqual([]);
});
