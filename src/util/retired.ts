/**
 * @file Names of before: each throws an error that says the new one.
 */
import { InputError } from './errors.ts';

/** @throws InputError that says what a name is called now. */
export function refuseRetired(name: string, now: string): never {
  throw new InputError(`${name} is called ${now} now`);
}

function retired(name: string, now: string): (...args: readonly unknown[]) => never {
  return () => refuseRetired(name, now);
}

/** @deprecated `openCheckpoint` of `keyhold/checkpoint` */
export const openModel = retired('openModel', "openCheckpoint (import it from 'keyhold/checkpoint')");
/** @deprecated `mergeAdapters` of `keyhold/adapters` */
export const mergeAdapter = retired('mergeAdapter', "mergeAdapters (import it from 'keyhold/adapters')");
