import { describe, expect, it } from 'vitest';
import * as errors from '../util/errors.ts';
import { fromWire, toWire } from './wire.ts';

const there = (error: unknown): Error => fromWire(structuredClone(toWire(error)));

describe('errors on the wire', () => {
  const classes = Object.entries(errors).filter(([name]) => name !== 'KeyholdError');

  it.each(classes)('keep their class: %s', (name, made) => {
    const original = new (made as new (message: string) => errors.KeyholdError)('what went wrong');
    const error = there(original) as errors.KeyholdError;
    expect(error).toBeInstanceOf(made);
    expect(error).toBeInstanceOf(errors.KeyholdError);
    expect({ name: error.name, code: error.code, message: error.message, stack: error.stack }).toEqual({
      name,
      code: original.code,
      message: 'what went wrong',
      stack: original.stack,
    });
  });

  it('keep their causes and the status of the hub', () => {
    const cause = new RangeError('inner', { cause: new errors.SnapshotError('innermost') });
    const error = there(new errors.HubError('outer', 404, { cause })) as errors.HubError;
    expect(error.status).toBe(404);
    expect(error.cause).toMatchObject({ name: 'RangeError', message: 'inner' });
    expect((error.cause as Error).cause).toBeInstanceOf(errors.SnapshotError);
    expect(there(new errors.InputError('x'))).not.toHaveProperty('status');
  });

  it('may be anything that was thrown', () => {
    expect(there('a text').message).toBe('a text');
    expect(there(undefined).message).toBe('undefined');
    const circle = new Error('round');
    circle.cause = circle;
    expect(there(circle).message).toBe('round');
  });
});
