import { expect, it, vi } from 'vitest';
import { defaultEngine } from '../../load/engines-node.ts';

it.runIf(defaultEngine() === 'ggml')('opens in two copies of the module, as there are after a hot reload', async () => {
  const one = (await import('./binding.ts')).openGgml();
  vi.resetModules();
  const other = (await import('./binding.ts')).openGgml();
  expect(other).not.toBe(one);
  expect(other.features).toEqual(one.features);
});
