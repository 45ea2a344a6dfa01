/**
 * `keyhold serve --models`: what a file says, and two models in one server.
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CliProcess, keyhold } from '../../../test/support/cli.ts';
import { S3_KEYS, S3_REGION, startS3 } from '../../../test/support/s3-server.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { modelSettings, readModels } from './served-models.ts';

const folder = await tempFolder('served-models');
let count = 0;
async function file(content: unknown): Promise<string> {
  const path = join(folder, `${count++}.json`);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

describe('a file of models', () => {
  it.each([
    ['{', 'JSON'],
    [{ models: { a: {} } }, 'models.a.path'],
    [{ models: { a: { path: 'x', wieghts: 'int8' } } }, 'models.a.wieghts'],
    [{ models: { a: { path: 'x', weights: 'int3' } } }, 'models.a.weights'],
    [{ models: { a: { path: 'x', cache: { policy: 'lastrec', cacheLength: -1 } } } }, 'cacheLength'],
    [{ models: { a: { path: 'x', cacheClasses: { default: {} } } } }, 'default'],
    [{ models: { a: { path: 'x', apiKeys: ['env:MISSING'] } } }, 'MISSING'],
  ])('%j is refused by name', async (content, said) => {
    const path = await file(content);
    await expect(modelSettings([{ file: path }], {})).rejects.toThrow(said);
  });

  it('has keys of the environment and paths beside it', async () => {
    const path = await file({
      models: { a: { path: './model', apiKeys: ['env:KEY', 'plain'], adapters: [{ path: '../lora', name: 'l' }] } },
    });
    const [a, b] = await modelSettings([{ file: path }, ...readModels('b=org/name')], { KEY: 'secret' });
    expect(a).toMatchObject({
      name: 'a',
      path: join(folder, 'model'),
      apiKeys: ['secret', 'plain'],
      adapters: [{ path: join(folder, '../lora'), name: 'l' }],
    });
    expect(b).toEqual({ name: 'b', path: 'org/name' });
  });

  it('refuses two models of one name, and options of a single model', async () => {
    const twice = await keyhold(['serve', '--models', 'a=keyhold/tiny', '--models', 'a=keyhold/tiny']);
    expect(twice).toMatchObject({ code: 2, stderr: expect.stringContaining('two models have the name "a"') });
    const both = await keyhold(['serve', 'keyhold/tiny', '--name', 'x', '--models', 'a=keyhold/tiny']);
    expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('--name') });
  });

  it('refuses what is no origin before a model is loaded', async () => {
    const refused = await keyhold(['serve', '--cors', 'example.org']);
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--cors: "example.org" is not an origin'),
    });
  });
});

it('two models are served, each with its classes, adapters and keys', async () => {
  const path = await file({
    models: {
      base: {
        path: 'keyhold/tiny',
        cache: { policy: 'lastrec', cacheLength: 64 },
        cacheClasses: { long: { cacheLength: 256 } },
      },
      private: {
        path: 'keyhold/tiny',
        load: 'first-use',
        idleMinutes: 5,
        adapters: [{ path: 'keyhold/tiny-jargon', name: 'jargon' }],
        apiKeys: ['env:PRIVATE_KEY'],
      },
    },
  });
  const args = ['serve', '--port', '0', '--api-key', 'common', '--models', path];
  const server = new CliProcess(args, { PRIVATE_KEY: 'private' });
  try {
    while (!/served at (\S+)/.test(server.stderr) && server.child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 50));
    const [, url] = /(\S+, \S+) are served at (\S+)/.exec(server.stderr)!.slice(1);
    const get = async (key: string) => {
      const response = await fetch(`${url}/models`, { headers: { authorization: `Bearer ${key}` } });
      return (await response.json()).data;
    };
    const common = await get('common');
    expect(common.map(({ id }: { id: string }) => id)).toEqual(['base']);
    expect(common[0].keyhold.cache_classes.map(({ name }: { name: string }) => name)).toEqual(['default', 'long']);
    const all = await get('private');
    expect(all.map(({ id }: { id: string }) => id)).toEqual(['base', 'private', 'private:jargon']);
    expect(all[1].keyhold.loaded).toBe(false);
    const text = async (model: string, more: object = {}) => {
      const response = await fetch(`${url}/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer private' },
        body: JSON.stringify({ model, prompt: 'And it came', max_tokens: 12, temperature: 0, ...more }),
      });
      const answer = await response.json();
      return [answer.choices[0].text, answer.keyhold.cache.class];
    };
    const [plain, plainClass] = await text('base');
    const [adapted, adaptedClass] = await text('private:jargon');
    expect(adapted).not.toBe(plain);
    expect([plainClass, adaptedClass, (await text('base', { cache: 'long' }))[1]]).toEqual([
      'default',
      'default',
      'long',
    ]);
    server.child.kill('SIGTERM');
    expect((await server.end()).stderr).toContain('ending');
  } finally {
    server.child.kill('SIGKILL');
  }
});

it('policies of your own are served, by their modules, and keep their sessions', async () => {
  const policy = 'test/fixtures/policies-own/newest.mjs';
  const path = await file({
    models: {
      base: {
        path: 'keyhold/tiny',
        cacheClasses: { own: { policy: `./${relative(folder, policy)}`, cacheLength: 16 } },
      },
    },
  });
  const single = ['--cache-class', `own=mix(h2o, ${policy}):16`, '-p', policy, '-c', '32'];
  const stores = [await mkdtemp(join(folder, 'store-')), await mkdtemp(join(folder, 'store-'))];
  const runs = [
    { args: ['--models', path], model: 'base', names: ['dense', 'newest.mjs'], store: stores[0] },
    { args: single, model: 'keyhold/tiny', names: ['newest.mjs', 'mix(h2o, newest.mjs)'], store: stores[1] },
    { args: single, model: 'keyhold/tiny', names: ['newest.mjs', 'mix(h2o, newest.mjs)'], store: stores[1] },
  ];
  const cached: number[] = [];
  // A cache that evicts goes on from all that it has seen.
  let prompts = ['And it came to', 'And it came to'];
  for (const { args, model, names, store } of runs) {
    const server = new CliProcess(['serve', '--port', '0', '--session-dir', store, ...args], {});
    try {
      while (!server.stderr.includes('served at') && server.child.exitCode === null)
        await new Promise((resolve) => setTimeout(resolve, 50));
      const [, url] = /served at (\S+)/.exec(server.stderr)!;
      const { data } = await (await fetch(`${url}/models`)).json();
      const classes = data[0].keyhold.cache_classes;
      expect(classes.map((each: { policy?: string }) => each.policy ?? 'dense')).toEqual(names);
      const continued: string[] = [];
      for (const [i, cache] of ['default', 'own'].entries()) {
        const response = await fetch(`${url}/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-session-id': 'a' },
          body: JSON.stringify({ model, prompt: prompts[i], max_tokens: 4, cache }),
        });
        expect(response.status, server.stderr).toBe(200);
        const { usage, choices } = await response.json();
        cached.push(usage.prompt_tokens_details.cached_tokens);
        continued.push(`${prompts[i]}${choices[0].text}`);
      }
      if (store === stores[1]) prompts = continued;
      server.child.kill('SIGTERM');
      await server.end();
    } finally {
      server.child.kill('SIGKILL');
    }
  }
  expect(cached.slice(0, 4)).toEqual([0, 0, 0, 0]);
  expect(Math.min(...cached.slice(4))).toBeGreaterThan(3);
});

it('sessions are kept in S3', async () => {
  const s3 = await startS3();
  const env = {
    AWS_ACCESS_KEY_ID: S3_KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: S3_KEYS.secretAccessKey,
    AWS_REGION: S3_REGION,
    AWS_ENDPOINT_URL: s3.url,
  };
  const server = new CliProcess(['serve', '--port', '0', '--session-dir', 's3://caches/chat'], env);
  try {
    while (!server.stderr.includes('served at') && server.child.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 50));
    const [, url] = /served at (\S+)/.exec(server.stderr)!;
    const response = await fetch(`${url}/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-session-id': 'a' },
      body: JSON.stringify({ model: 'keyhold/tiny', prompt: 'And it came', max_tokens: 4 }),
    });
    expect(response.status).toBe(200);
    await expect.poll(() => s3.objects.size, { timeout: 10_000 }).toBe(1);
    expect([...s3.objects.keys()][0]).toMatch(/^\/caches\/chat\/[0-9a-f]{64}\.khc$/);
    const without = await keyhold(['serve', '--session-dir', 's3://caches']);
    expect(without).toMatchObject({ code: 2, stderr: expect.stringContaining('AWS_ACCESS_KEY_ID') });
    const file = join(folder, 'no-folder');
    await writeFile(file, '');
    const wrong = await keyhold(['serve', '--port', '0', '--session-dir', file]);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining(`--session-dir ${file}: `) });
  } finally {
    server.child.kill('SIGKILL');
    await s3.close();
  }
});
