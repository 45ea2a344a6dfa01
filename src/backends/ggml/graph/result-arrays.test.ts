import { describe, expect, it } from 'vitest';
import { ResultArrays } from './result-arrays.ts';

describe('arrays of results', () => {
  it('are written anew once they were given back', () => {
    const arrays = new ResultArrays();
    const [a, b] = [arrays.take(8), arrays.take(8)];
    expect(a).not.toBe(b);
    arrays.give([a, b]);
    expect(new Set([arrays.take(8), arrays.take(8)])).toEqual(new Set([a, b]));
    expect(arrays.take(8)).not.toBe(a);
  });

  it('of other lengths than the last chunk are let go', () => {
    const arrays = new ResultArrays();
    const [long, short] = [arrays.take(8), arrays.take(4)];
    arrays.give([long]);
    arrays.give([short]);
    expect(arrays.take(8)).not.toBe(long);
    expect(arrays.take(4)).toBe(short);
  });

  it('that are parts of others are never written to', () => {
    const arrays = new ResultArrays();
    const part = new Float32Array(8).subarray(0, 4);
    arrays.give([part]);
    expect(arrays.take(4)).not.toBe(part);
  });
});
