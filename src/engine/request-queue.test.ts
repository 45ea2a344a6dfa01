import { describe, expect, it } from 'vitest';
import { RequestQueue } from './request-queue.ts';

describe('RequestQueue', () => {
  it('gives what is there, from a list', () => {
    const intake = new RequestQueue([1, 2]);
    expect(intake.ready()).toEqual({ value: 1 });
    expect(intake.done).toBe(false);
    expect(intake.ready()).toEqual({ value: 2 });
    expect(intake.ready()).toBeNull();
    expect(intake.done).toBe(true);
  });

  it('asks for one at a time, and only when it is asked', async () => {
    let asked = 0;
    let give: (value: number) => void = () => {};
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          asked++;
          return new Promise<IteratorResult<number>>((done) => {
            give = (value) => done({ value, done: false });
          });
        },
      }),
    };
    const intake = new RequestQueue<number>(source);
    expect(asked).toBe(0);
    expect(intake.ready()).toBeNull();
    expect(intake.ready()).toBeNull();
    expect(asked).toBe(1);
    give(5);
    await intake.wait();
    expect(intake.ready()).toEqual({ value: 5 });
    expect(asked).toBe(1);
    const waiting = intake.wait();
    expect(asked).toBe(2);
    give(6);
    await waiting;
    // What came is kept until it is asked for.
    await intake.wait();
    expect(asked).toBe(2);
    expect(intake.ready()).toEqual({ value: 6 });
  });

  it('throws what the source throws, once it is asked', async () => {
    async function* source(): AsyncGenerator<number> {
      yield 1;
      throw new Error('broken');
    }
    const intake = new RequestQueue(source());
    await intake.wait();
    expect(intake.ready()).toEqual({ value: 1 });
    await intake.wait();
    expect(() => intake.ready()).toThrow('broken');
    expect(intake.done).toBe(true);
  });

  it('waits no longer than its signal', async () => {
    const source = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<IteratorResult<number>>(() => {}) }) };
    const intake = new RequestQueue<number>(source);
    const aborter = new AbortController();
    const waiting = intake.wait(aborter.signal);
    aborter.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(intake.wait(aborter.signal)).rejects.toThrow('enough');
    intake.close();
    intake.close();
    expect(intake.ready()).toBeNull();
  });
});
