/**
 * @file Policies whose names are paths of modules: what a policy of one's own is called on the command line, and for a
 * model in a worker.
 */
import { InputError } from '../util/errors.ts';
import { locationOf } from '../util/location.ts';
import { asChoice } from './policies.ts';
import { policyNamed } from './policy/combine.ts';
import { definePolicy, isPolicyEntry, type PolicyDefinition } from './policy/define-policy.ts';
import type { PolicyChoice, PolicyEntry } from './policy/policy.ts';
import { isModule, namesIn } from './policy/policy-names.ts';

/**
 * A policy by its name, where modules are among the names: `./mine.mjs`, `routed(./mine.mjs, lastrec)`.
 * @param load imports a module by its name.
 * @throws InputError where a module can't be loaded, or its default export is no policy.
 */
export async function policyOfModules(name: string, load: (module: string) => Promise<unknown>): Promise<PolicyChoice> {
  const loaded = new Map<string, PolicyEntry | PolicyChoice>();
  for (const module of namesIn(name)) if (isModule(module)) loaded.set(module, await loadPolicy(module, load));
  return policyNamed(name, (part) => asChoice(loaded.get(part) ?? part));
}

async function loadPolicy(
  name: string,
  load: (module: string) => Promise<unknown>,
): Promise<PolicyEntry | PolicyChoice> {
  let module: { readonly default?: unknown };
  try {
    module = (await load(name)) as typeof module;
  } catch (cause) {
    const { message, code } = cause as Error & { readonly code?: string };
    const hint = /\.[cm]?tsx?" /.test(message) ? '; compile it to JavaScript, or use Node 22.18 or newer' : '';
    // Errors of Node and our own are not thrown in the module.
    const location = code === undefined ? locationOf(cause) : '';
    throw new InputError(`the cache policy ${name} can't be loaded: ${message}${location}${hint}`, { cause });
  }
  const policy = module.default;
  if (typeof policy !== 'object' || policy === null)
    throw new InputError(
      `${name} exports no cache policy: its default export must be one, as definePolicy takes or gives it`,
    );
  if (isPolicyEntry(policy) || ('entry' in policy && isPolicyEntry(policy.entry)))
    return policy as PolicyEntry | PolicyChoice;
  return definePolicy(policy as PolicyDefinition);
}
