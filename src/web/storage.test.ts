import { afterEach, expect, it, vi } from 'vitest';
import { checkQuota, openFolder, resize, writeAll } from './storage.ts';

afterEach(() => vi.unstubAllGlobals());

it('says how many bytes are wanted and left, before anything is written', async () => {
  const estimate = vi.fn(async () => ({ quota: 10_000_000, usage: 4_000_000 }));
  vi.stubGlobal('navigator', { storage: { estimate } });
  await checkQuota('the download of a/b', 6_000_000);
  await expect(checkQuota('the download of a/b', 6_000_001)).rejects.toThrow(
    /^the download of a\/b takes 7 MB, but the browser leaves this page 6 MB; delete stored models/,
  );
  estimate.mockResolvedValue({} as never);
  await checkQuota('anything', 1e12);
});

it('tells a full storage from one that is not there', async () => {
  const fails = (name: string) => async () => {
    throw new DOMException('the operation failed', name);
  };
  vi.stubGlobal('navigator', { storage: { getDirectory: fails('QuotaExceededError') } });
  await expect(openFolder('models')).rejects.toThrow(/^the browser's storage is full; delete stored models/);
  vi.stubGlobal('navigator', { storage: { getDirectory: fails('SecurityError') } });
  await expect(openFolder('models')).rejects.toThrow(
    /^the browser gives this page no storage \(the operation failed\)/,
  );
});

it('refuses writes that the browser cut short', () => {
  const file = { read: () => 0, truncate() {}, getSize: () => 0, flush() {}, close() {} };
  const bytes = new Uint8Array(10);
  writeAll({ ...file, write: () => 10 }, bytes, 0);
  expect(() => writeAll({ ...file, write: () => 4 }, bytes, 0)).toThrow(/storage is full: 10 bytes/);
  const truncate = () => {
    throw new Error('QuotaExceededError');
  };
  expect(() => resize({ ...file, write: () => 0, truncate }, 7)).toThrow(/storage is full: 7 bytes/);
});
