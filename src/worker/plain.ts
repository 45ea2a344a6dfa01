/**
 * @file Options as they can go to another thread.
 */
import { withUrls } from '../kvcache/policy/policy-names.ts';
import { InputError } from '../util/errors.ts';
import type { Caller } from './rpc.ts';
import { WorkerCache } from './worker-cache.ts';

/** What of options depends on the model. */
export interface PlainContext {
  readonly caller: Caller;
  /** The URL of a module that is named by its path. */
  readonly resolveModule: (module: string | URL) => string;
}

/** @throws InputError for options that can't go to another thread, by name. */
export function plain<T extends object>(options: T, { caller, resolveModule }: PlainContext): T {
  const entries = Object.entries(options).map(([key, value]) => {
    if (value instanceof WorkerCache) return [key, value.refFor(caller)];
    const { policyModule } = key === 'cache' && value ? value : {};
    const sent =
      policyModule === undefined ? value : { ...value, policyModule: moduleUrls(policyModule, resolveModule) };
    refuseFunctions(key, sent);
    return [key, sent];
  });
  return Object.fromEntries(entries) as T;
}

/** A module, or the modules of a combination, by their URLs. */
export function moduleUrls(module: string | URL, resolveModule: PlainContext['resolveModule']): string {
  return typeof module === 'string' ? withUrls(module, resolveModule) : resolveModule(module);
}

function refuseFunctions(name: string, value: unknown): void {
  if (/^cache\.policy\b/.test(name) && typeof value === 'object')
    throw new InputError(
      "a policy's functions can't go to another thread: give the name of an included policy and its options beside it, " +
        'or the module of your own, as policyModule: "./policy.mjs"',
    );
  if (typeof value === 'function')
    throw new InputError(`${name} is a function, which can't go to another thread; use loadModel in this one`);
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  const made = value.constructor;
  if (made && ![Object, Array, Map, Set].includes(made as ObjectConstructor))
    throw new InputError(`${name} is a ${made.name}, which can't go to another thread`);
  for (const [key, inner] of Object.entries(value))
    refuseFunctions(Array.isArray(value) ? name : `${name}.${key}`, inner);
}
