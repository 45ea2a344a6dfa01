import { describe, expect, it } from 'vitest';
import { RequestQueue } from './request-queue.ts';

const turn = () => new Promise((resolve) => setTimeout(resolve));

describe('RequestQueue', () => {
  it('gives what is there, from a list', () => {
    const queue = new RequestQueue([1, 2]);
    expect(queue.ready()).toEqual({ value: 1 });
    expect(queue.done).toBe(false);
    expect(queue.ready()).toEqual({ value: 2 });
    expect(queue.ready()).toBeNull();
    expect(queue.done).toBe(true);
  });

  it('asks for one at a time, and tells when it has come', async () => {
    let asked = 0;
    let changes = 0;
    let give: (value: number) => void = () => {};
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          asked++;
          return new Promise<IteratorResult<number>>((resolve) => {
            give = (value) => resolve({ value, done: false });
          });
        },
      }),
    };
    const queue = new RequestQueue<number>(source, () => changes++);
    expect(asked).toBe(0);
    expect(queue.ready()).toBeNull();
    expect(queue.ready()).toBeNull();
    expect(asked).toBe(1);
    expect(queue.arrived).toBe(false);
    give(5);
    await turn();
    expect([changes, queue.arrived]).toEqual([1, true]);
    // What came is kept until it is asked for.
    queue.ask();
    expect(asked).toBe(1);
    expect(queue.ready()).toEqual({ value: 5 });
    queue.ask();
    expect(asked).toBe(2);
  });

  it('throws what the source throws, once it is asked', async () => {
    async function* source(): AsyncGenerator<number> {
      yield 1;
      throw new Error('broken');
    }
    const queue = new RequestQueue(source());
    queue.ask();
    await turn();
    expect(queue.ready()).toEqual({ value: 1 });
    queue.ask();
    await turn();
    expect(queue.arrived).toBe(true);
    expect(() => queue.ready()).toThrow('broken');
  });

  it('closes a source that never gives anything', () => {
    const source = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<IteratorResult<number>>(() => {}) }) };
    const queue = new RequestQueue<number>(source);
    queue.ask();
    queue.close();
    queue.close();
    expect(queue.ready()).toBeNull();
    expect(queue.done).toBe(true);
  });
});
