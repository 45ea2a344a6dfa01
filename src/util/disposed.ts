/**
 * @file The error of a model or a cache that is used after its `dispose()`.
 */
import { InputError } from './errors.ts';

/** Says that something was disposed of; to be thrown. */
export function disposedError(what: 'model' | 'cache'): InputError {
  return new InputError(`the ${what} was disposed of and can't be used any more`);
}
