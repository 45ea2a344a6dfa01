import { spawnSync } from 'node:child_process';
import { describe, expect, it, vi } from 'vitest';
import { defaultEngine } from '../../../load/engines-node.ts';

describe.runIf(defaultEngine() === 'ggml')('ggml', () => {
  it('opens in two copies of the module, as there are after a hot reload', async () => {
    const one = (await import('./binding.ts')).openGgml();
    vi.resetModules();
    const other = (await import('./binding.ts')).openGgml();
    expect(other).not.toBe(one);
    expect(other.features).toEqual(one.features);
  });

  it('is the same where it was begun before', async () => {
    const { features } = (await import('./binding.ts')).openGgml();
    vi.resetModules();
    const { beginGgml, openGgml } = await import('./binding.ts');
    beginGgml();
    beginGgml();
    const ggml = openGgml();
    expect(ggml.features).toEqual(features);
    beginGgml();
    expect(openGgml()).toBe(ggml);
  });

  it('lets a process end that has begun to open it', () => {
    const module = JSON.stringify(new URL('./binding.ts', import.meta.url).href);
    const code = `const { beginGgml } = await import(${module}); beginGgml(); process.exit(3);`;
    const { status, signal } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code]);
    expect([status, signal]).toEqual([3, null]);
  });
});
