import { expect, it } from 'vitest';
import { usableCores, usableMemory } from './machine-node.ts';

it('counts the cores that a control group leaves', () => {
  const cores = (files: Readonly<Record<string, string>>, most = 64) => usableCores(most, (path) => files[path] ?? '');
  const second = '/sys/fs/cgroup/cpu.max';
  expect(cores({})).toBe(64);
  expect(cores({ [second]: 'max 100000\n' })).toBe(64);
  expect(cores({ [second]: '200000 100000\n' })).toBe(2);
  expect(cores({ [second]: '350000 100000\n' })).toBe(3);
  expect(cores({ [second]: '50000 100000\n' })).toBe(1);
  expect(cores({ [second]: '200000 100000\n' }, 1)).toBe(1);
  const first = (quota: string) => ({
    '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': quota,
    '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
  });
  expect(cores(first('-1\n'))).toBe(64);
  expect(cores(first('400000\n'))).toBe(4);
});

it('counts the memory that a control group leaves', () => {
  const GB = 1e9;
  expect(usableMemory(20 * GB, 0, GB)).toBe(20 * GB);
  expect(usableMemory(20 * GB, 2 ** 64, GB)).toBe(20 * GB);
  expect(usableMemory(20 * GB, 4 * GB, GB)).toBe(3 * GB);
  expect(usableMemory(2 * GB, 4 * GB, GB)).toBe(2 * GB);
  expect(usableMemory(2 * GB, GB, 2 * GB)).toBe(0);
});
