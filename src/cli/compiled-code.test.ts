import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { keepCompiledCode } from './compiled-code.ts';

const base = await tempFolder('compiled-code');
const folder = join(base, 'caches');

function kept(env: NodeJS.ProcessEnv): string[] {
  const folders: string[] = [];
  keepCompiledCode(env, (where) => folders.push(where));
  return folders;
}

describe('compiled code', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('is kept beside prepared weights, once there are any', async () => {
    expect(kept({ KEYHOLD_CACHE: folder })).toEqual([]);
    await mkdir(folder);
    expect(kept({ KEYHOLD_CACHE: folder })).toEqual([join(folder, 'compiled')]);
    expect(kept({ XDG_CACHE_HOME: base })).toEqual([]);
  });

  it('is kept where the environment says', () => {
    expect(kept({ KEYHOLD_CACHE: folder, NODE_COMPILE_CACHE: base })).toEqual([]);
  });

  it('is kept nowhere without a home folder', () => {
    vi.stubEnv('HOME', '');
    expect(kept({})).toEqual([]);
  });
});
