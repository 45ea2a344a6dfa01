import { expect, it } from 'vitest';
import { lazy, once } from './once.ts';

it('makes a value when it is first asked for, and no other', () => {
  let count = 0;
  const value = lazy(() => ({ count: ++count }));
  expect(count).toBe(0);
  expect(value()).toBe(value());
  expect(count).toBe(1);
});

it('asks again after an error that was thrown, and gives the promise of the first call to all', async () => {
  let count = 0;
  const value = lazy(() => {
    if (++count === 1) throw new Error('not yet');
    return count;
  });
  expect(value).toThrow('not yet');
  expect(value()).toBe(2);
  const promise = once(async () => ++count);
  expect(promise()).toBe(promise());
  await expect(promise()).resolves.toBe(3);
});
