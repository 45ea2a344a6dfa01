import { mkdir, readdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';

const root = await tempFolder('cache');
let count = 0;
let env: Record<string, string>;

beforeEach(async () => {
  const folder = join(root, String(count++));
  env = { HF_HUB_CACHE: join(folder, 'hub'), KEYHOLD_CACHE: join(folder, 'keyhold') };
  const repo = join(env['HF_HUB_CACHE'], 'models--org--some--name');
  await mkdir(join(repo, 'blobs'), { recursive: true });
  await mkdir(join(repo, 'snapshots/c'), { recursive: true });
  await writeFile(join(repo, 'blobs/a'), new Uint8Array(1500));
  await symlink('../../blobs/a', join(repo, 'snapshots/c/model.safetensors'));
});

describe('keyhold cache', () => {
  it('lists downloads and prepared weights, and removes them by name', async () => {
    vi.stubEnv('KEYHOLD_CACHE', env['KEYHOLD_CACHE']);
    expect((await keyhold(['generate', 'And', '-n', '1', '-q'], { env })).code).toBe(0);
    vi.unstubAllEnvs();
    const { stdout } = await keyhold(['cache', 'ls', '--json'], { env });
    const { entries } = JSON.parse(stdout);
    expect(entries).toMatchObject([
      { kind: 'download', model: 'org/some--name', format: null, bytes: 1500 },
      { kind: 'weights', model: 'keyhold/tiny', format: 'float32' },
    ]);
    expect(entries[1].bytes).toBeGreaterThan(20e6);
    expect(Date.now() - Date.parse(entries[1].lastUsed)).toBeLessThan(60_000);
    expect((await keyhold(['cache', 'ls'], { env })).stdout).toMatch(
      /1\.50 kB {2}org\/some--name\n[\s\S]* MB {2}keyhold\/tiny \(float32\)/,
    );

    expect((await keyhold(['cache', 'rm', 'org/some--name'], { env })).stderr).toBe('removed 1 folder, 1.50 kB\n');
    expect((await keyhold(['cache', 'rm', '--weights'], { env })).stderr).toMatch(/^removed 1 folder, \d+\.\d MB\n$/);
    expect(JSON.parse((await keyhold(['cache', 'ls', '--json'], { env })).stdout).entries).toEqual([]);
    expect(await readdir(env['HF_HUB_CACHE'])).toEqual([]);
  });

  it('removes prepared weights that were not used for some days; a load is a use', async () => {
    vi.stubEnv('KEYHOLD_CACHE', env['KEYHOLD_CACHE']);
    const load = () => keyhold(['generate', 'And', '-n', '1', '-q'], { env });
    const list = async () => JSON.parse((await keyhold(['cache', 'ls', '--json'], { env })).stdout).entries;
    const remove = () => keyhold(['cache', 'rm', '--unused-for', '30'], { env });
    await load();
    const [, { folder }] = await list();
    const manifest = join(folder, 'manifest.json');
    const old = new Date(Date.now() - 31 * 24 * 60 * 60 * 1000);
    await utimes(manifest, old, old);
    await load();
    vi.unstubAllEnvs();
    expect((await remove()).stderr).toBe('removed 0 folders, 0 bytes\n');
    await utimes(manifest, old, old);
    expect((await keyhold(['cache', 'ls'], { env })).stdout).toContain(`used ${old.toISOString().slice(0, 10)}`);
    expect((await remove()).stderr).toMatch(/^removed 1 folder, \d+\.\d MB\n$/);
    // Downloads stay.
    expect(await list()).toMatchObject([{ kind: 'download', lastUsed: null }]);
  });

  it('refuses what is not there, and removes nothing then', async () => {
    expect(await keyhold(['cache', 'rm'], { env })).toMatchObject({ code: 2 });
    const { code, stderr } = await keyhold(['cache', 'rm', 'org/some--name', 'org/other'], { env });
    expect(code).toBe(2);
    expect(stderr).toContain('of org/other; keyhold cache ls lists what there is');
    expect(await readdir(env['HF_HUB_CACHE'])).toHaveLength(1);
  });

  it('is empty where there is no folder', async () => {
    const none = { HF_HUB_CACHE: join(root, 'none'), KEYHOLD_CACHE: join(root, 'none') };
    expect(JSON.parse((await keyhold(['cache', 'ls', '--json'], { env: none })).stdout).entries).toEqual([]);
  });
});

describe('keyhold doctor', () => {
  it('tells versions, engines and caches, and no secrets', async () => {
    const secrets = { ...env, HF_TOKEN: 'hf_secret', HTTPS_PROXY: 'http://me:word@proxy:1' };
    const facts = JSON.parse((await keyhold(['doctor', '--json'], { env: secrets })).stdout);
    expect(facts).toMatchObject({ node: process.version, caches: { downloads: { bytes: 1500 } } });
    expect(facts.engines.map(({ name }: { name: string }) => name)).toEqual(['ggml', 'onnx']);
    expect(facts.engines.some(({ problem }: { problem: unknown }) => problem === null)).toBe(true);
    const { stdout } = await keyhold(['doctor'], { env: secrets });
    expect(stdout).toMatch(/^keyhold +\d/);
    expect(stdout).toMatch(/^HF_TOKEN +set$/m);
    expect(stdout).toMatch(/^HTTPS_PROXY +http:\/\/…@proxy:1$/m);
    for (const secret of ['hf_secret', 'word']) expect(stdout + JSON.stringify(facts)).not.toContain(secret);
  });

  it('tells the rest where there is no home folder', async () => {
    vi.stubEnv('HOME', '');
    const none = { HF_HOME: '', HF_HUB_CACHE: '', XDG_CACHE_HOME: '', KEYHOLD_CACHE: '' };
    const { code, stdout } = await keyhold(['doctor'], { env: none });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^engine ggml +works/m);
    expect(stdout).toMatch(
      /^caches +not available: there is no home folder .* set HOME, or KEYHOLD_CACHE and HF_HOME/m,
    );
    const facts = JSON.parse((await keyhold(['doctor', '--json'], { env: none })).stdout);
    expect(facts.caches.problem).toMatch(/no home folder/);
    vi.unstubAllEnvs();
  });
});
