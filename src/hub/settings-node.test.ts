import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { readHubSettings } from './settings-node.ts';

const none = '/nonexistent';

it('finds the cache as Python does', async () => {
  const cacheDir = async (env: Record<string, string>) => (await readHubSettings({ env, token: false })).cacheDir;
  expect(await cacheDir({})).toBe(join(homedir(), '.cache', 'huggingface', 'hub'));
  expect(await cacheDir({ XDG_CACHE_HOME: '/x' })).toBe('/x/huggingface/hub');
  expect(await cacheDir({ XDG_CACHE_HOME: '/x', HF_HOME: '/h' })).toBe('/h/hub');
  expect(await cacheDir({ HF_HOME: '~/hf' })).toBe(join(homedir(), 'hf', 'hub'));
  expect(await cacheDir({ HF_HOME: '/h', HF_HUB_CACHE: '/c' })).toBe('/c');
  expect((await readHubSettings({ env: { HF_HUB_CACHE: '/c' }, cacheDir: '/mine', token: false })).cacheDir).toBe(
    '/mine',
  );
});

it('needs no home folder where the folder of downloads is named', async () => {
  vi.stubEnv('HOME', '');
  expect(await readHubSettings({ env: { HF_HUB_CACHE: '/c' } })).toMatchObject({ cacheDir: '/c', token: undefined });
  await expect(readHubSettings({ env: {} })).rejects.toThrow(/no home folder/);
  vi.unstubAllEnvs();
});

it('takes the token from the option, the environment, or the file of the login', async () => {
  const home = await mkdtemp(join(tmpdir(), 'keyhold-home-'));
  await writeFile(join(home, 'token'), 'hf_file\n');
  const token = async (env: Record<string, string>, given?: string | false) =>
    (await readHubSettings({ env: { HF_HOME: home, ...env }, token: given })).token;
  expect(await token({})).toBe('hf_file');
  expect(await token({ HF_TOKEN: 'hf_env' })).toBe('hf_env');
  expect(await token({ HF_TOKEN: 'hf_env' }, 'hf_option')).toBe('hf_option');
  expect(await token({ HF_TOKEN: 'hf_env' }, false)).toBeUndefined();
  expect(await token({ HF_HOME: none })).toBeUndefined();
  const error = await token({ HF_TOKEN: 'hf_a\nb' }).catch((e: Error) => e);
  expect((error as Error).message).toMatch(/access token from HF_TOKEN/);
  expect((error as Error).message).not.toContain('hf_a');
  await rm(home, { recursive: true });
});

it('reads endpoint and offline mode', async () => {
  const read = (env: Record<string, string>) => readHubSettings({ env: { HF_HOME: none, ...env } });
  expect(await read({})).toMatchObject({ endpoint: 'https://huggingface.co', offline: false });
  expect(await read({ HF_ENDPOINT: 'https://mirror.example/' })).toMatchObject({ endpoint: 'https://mirror.example' });
  for (const on of ['1', 'true', 'YES', 'on']) expect((await read({ HF_HUB_OFFLINE: on })).offline).toBe(true);
  for (const off of ['0', '', 'false']) expect((await read({ HF_HUB_OFFLINE: off })).offline).toBe(false);
  await expect(read({ HF_ENDPOINT: 'ftp://x' })).rejects.toThrow(/HF_ENDPOINT/);
  await expect(read({ HF_ENDPOINT: 'mirror' })).rejects.toThrow(/HF_ENDPOINT/);
});
