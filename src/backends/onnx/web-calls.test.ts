import { describe, expect, it, vi } from 'vitest';
import { GraphError, InputError, MemoryError } from '../../util/errors.ts';
import type { PreparedWeights } from '../../weights/types.ts';
import type { OnnxModel } from './lower/lower-by.ts';
import { makeSession, Queue, readable, type SessionFiles } from './web-calls.ts';

describe('errors of ONNX Runtime in WebAssembly', () => {
  it.each([3436070408, '3436070408', new Error('std::bad_alloc'), new RangeError('Array buffer allocation failed')])(
    'say that memory is wanting: %s',
    (cause) => {
      const error = readable('making the session', 538e6, cause);
      expect(error).toBeInstanceOf(MemoryError);
      expect(error.message).toMatch(/538 MB/);
    },
  );

  it('are graph errors otherwise, and errors of this library stay what they are', () => {
    expect(readable('the step', 0, new Error('no kernel'))).toBeInstanceOf(GraphError);
    const own = new InputError('own');
    expect(readable('the step', 0, own)).toBe(own);
  });
});

describe('calls of ONNX Runtime', () => {
  it('run one after the other, also after one that failed', async () => {
    const queue = new Queue();
    let running = 0;
    const call = (fails: boolean) => async () => {
      expect(++running).toBe(1);
      await new Promise((done) => setTimeout(done));
      running--;
      if (fails) throw new Error('no kernel');
      return 'done';
    };
    const calls = [false, true, false].map((fails) => queue.run('the step', 0, call(fails)));
    expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
  });

  it('end with an error where there is no answer', async () => {
    vi.useFakeTimers();
    try {
      const silent = new Queue().run('making the session', 0, () => new Promise(() => {}));
      const failed = expect(silent).rejects.toThrow(/making the session in ONNX Runtime gave no answer for 180 s/);
      await vi.advanceTimersByTimeAsync(180_000);
      await failed;
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('a session in WebAssembly', () => {
  const params = new Map(
    ['a', 'b', 'c'].map((name, i) => [name, { name, dtype: 'uint8', shape: [4], offset: 64 * i, length: 4 }]),
  );
  const made: Uint8Array[] = [];
  const weights: PreparedWeights = {
    ...{ params, size: 192, file: { folder: '', name: '' } },
    async read(offset) {
      made.push(new Uint8Array(4).fill(offset));
      return made.at(-1)!;
    },
  };
  const model = {
    weights: new Map([...params.keys()].map((name) => [name, 1])),
    serialize: () => new Uint8Array(1),
  } as unknown as OnnxModel;
  /** As ONNX Runtime's script reads a file. */
  const copy = ({ externalData }: SessionFiles, name: string): number[] => {
    const { data } = externalData.find(({ path }) => path === name)!;
    if (data.byteLength < 4) throw new Error('out of bounds');
    return [...data.subarray(0, 4)];
  };
  const sizes = () => made.map(({ byteLength }) => byteLength);

  it('has each tensor in memory until the next one is copied', async () => {
    made.length = 0;
    const copies = await makeSession(model, weights, async (files) => {
      const all: number[][] = [];
      for (const name of ['b', 'c', 'a']) {
        all.push(copy(files, name));
        expect(sizes()).toEqual({ b: [4, 4, 4], c: [4, 0, 4], a: [4, 0, 0] }[name]);
      }
      return all;
    });
    expect(copies).toEqual([64, 128, 0].map((byte) => new Array(4).fill(byte)));
  });

  it('is made again of tensors that stay where one is read twice', async () => {
    made.length = 0;
    let calls = 0;
    const copies = await makeSession(model, weights, async (files) => {
      calls++;
      return ['a', 'a', 'b', 'a'].map((name) => copy(files, name)[0]);
    });
    expect(copies).toEqual([0, 0, 64, 0]);
    expect(calls).toBe(2);
    expect(sizes().slice(3)).toEqual([4, 4, 4]);
  });

  it('is made once of a tensor that is two constants of the graph', async () => {
    let calls = 0;
    const twice = { ...model, weights: new Map([...model.weights, ['a', 2]]) };
    const copies = await makeSession(twice, weights, async (files) => {
      calls++;
      return ['a', 'b', 'a'].map((name) => copy(files, name)[0]);
    });
    expect(copies).toEqual([0, 64, 0]);
    expect(calls).toBe(1);
  });

  it('is not made again where something else fails', async () => {
    let calls = 0;
    const failing = makeSession(model, weights, async () => {
      calls++;
      throw new Error('no kernel');
    });
    await expect(failing).rejects.toThrow('no kernel');
    expect(calls).toBe(1);
  });
});
