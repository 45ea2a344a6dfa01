import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { startHubOf, TINY_COMMIT } from '../../../test/support/hub-models.ts';
import type { HubServer } from '../../../test/support/hub-server.ts';
import { Interrupted } from '../io.ts';

let hub: HubServer;
let home: string;
beforeEach(async () => {
  hub = await startHubOf('org/tiny');
  home = await mkdtemp(join(tmpdir(), 'keyhold-download-'));
  vi.stubEnv('HF_HOME', home);
  vi.stubEnv('KEYHOLD_CACHE', join(home, 'keyhold'));
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_CACHE']) vi.stubEnv(name, '');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  await rm(home, { recursive: true, force: true });
});

describe('keyhold download', () => {
  it('prints the folder, and how much there was', async () => {
    const folder = join(home, 'hub', 'models--org--tiny', 'snapshots', TINY_COMMIT);
    const { code, stdout, stderr } = await keyhold(['download', 'org/tiny']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${folder}\n` });
    expect(stderr).toMatch(/^org\/tiny: 5 files, 10\.8 MB, in .*\n$/);
    expect((await readdir(folder)).sort()).toContain('model.safetensors');
    const again = await keyhold(['download', 'org/tiny']);
    expect(again).toEqual({ code: 0, stdout, stderr: 'org/tiny: 5 files, 10.8 MB, there already\n' });
    expect((await keyhold(['download', 'org/tiny', '-q'])).stderr).toBe('');
  });

  it('downloads nothing that ships', async () => {
    const { code, stderr } = await keyhold(['download', 'keyhold/tiny']);
    expect([code, stderr]).toEqual([2, 'error: keyhold/tiny ships with keyhold: there is nothing to download\n']);
  });

  it('--json lists the files', async () => {
    const { stdout } = await keyhold(['download', 'org/tiny', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      model: 'org/tiny',
      commit: TINY_COMMIT,
      files: expect.arrayContaining([{ name: 'model.safetensors', bytes: 10_563_984 }]),
    });
  });

  it('goes on after Ctrl-C from where it was', async () => {
    const controller = new AbortController();
    hub.faults.delayMs = 5;
    // The connection is there, so the download has begun.
    const watch = setInterval(() => {
      if (hub.requests.some(({ host }) => host === 'cdn')) controller.abort(new Interrupted(130));
    }, 5);
    const stopped = await keyhold(['download', 'org/tiny'], { signal: controller.signal });
    clearInterval(watch);
    expect(stopped).toMatchObject({ code: 130, stdout: '' });
    expect(stopped.stderr).toBe('What has come so far is kept: the same command goes on from there.\ninterrupted\n');
    hub.faults.delayMs = 0;
    expect((await keyhold(['download', 'org/tiny'])).code).toBe(0);
  });

  it('says what is wrong with a name, a revision, a token', async () => {
    const error = async (...args: string[]) => {
      const { code, stdout, stderr } = await keyhold(['download', ...args]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr.trim().split('\n')).toHaveLength(1);
      return stderr;
    };
    expect(await error('org/tony')).toMatch(/org\/tony: no such repository/);
    expect(await error('./folder')).toMatch(/is not a repository id; it looks like "org\/name"/);
    expect(await error('org/tiny', '--revision', 'v9')).toMatch(/has no revision "v9"/);
    expect(await error('org/tiny', '--offline')).toMatch(/Offline mode is on/);
    hub.repos.set('org/tiny', { ...hub.repos.get('org/tiny')!, gated: 'hf_right' });
    expect(await error('org/tiny')).toMatch(/set HF_TOKEN to an access token/);
    expect((await keyhold(['download', 'org/tiny', '--token', 'hf_right'])).code).toBe(0);
  });

  it('wants a name', async () => {
    expect(await keyhold(['download'])).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('keyhold generate with a model from the hub', () => {
  it('downloads it once, and then works offline', async () => {
    const args = ['generate', '-m', 'org/tiny', 'And it came', '-n', '4', '--seed', '3'];
    const first = await keyhold(args);
    expect(first.code).toBe(0);
    await hub.close();
    const second = await keyhold([...args, '--offline']);
    expect(second.stdout).toBe(first.stdout);
    hub = await startHubOf();
  });
});
