import * as os from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { defaultCacheDir, homeFolder } from './home-node.ts';

vi.mock('node:os', async (original) => {
  const real = await original<typeof os>();
  return { ...real, homedir: vi.fn(real.homedir) };
});
const homedir = vi.mocked(os.homedir);
afterEach(() => {
  homedir.mockReset();
});

it('is absolute, also where HOME is relative', () => {
  homedir.mockReturnValue('here');
  expect(homeFolder()).toBe(join(process.cwd(), 'here'));
});

it('says what to set where HOME is empty, or the system knows no home', () => {
  homedir.mockReturnValue('');
  expect(() => homeFolder()).toThrow(/no home folder.*KEYHOLD_CACHE and HF_HOME/);
  // What Node throws for a user id without an entry.
  homedir.mockImplementation(() => {
    throw new Error('A system error occurred: uv_os_homedir returned ENOENT');
  });
  expect(() => homeFolder()).toThrow(/no home folder/);
});

describe('defaultCacheDir', () => {
  it('follows the environment', () => {
    expect(defaultCacheDir({ KEYHOLD_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
    expect(defaultCacheDir({ XDG_CACHE_HOME: '/b' })).toBe('/b/keyhold');
    expect(defaultCacheDir({})).toMatch(/\.cache.keyhold$/);
  });
});
