import { describe, expect, it } from 'vitest';
import { GraphError, InputError, MemoryError } from '../../util/errors.ts';
import { readable } from './web-calls.ts';

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
