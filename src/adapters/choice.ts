/**
 * @file How a request names the live adapters that it uses.
 */
import { InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';

/** An adapter by its name, and how much it counts (default 1). */
export type AdapterUse = string | { readonly name: string; readonly weight?: number };
/** What a request uses; several add up, and an empty list is the model without adapters. */
export type AdapterChoice = AdapterUse | readonly AdapterUse[];

/** Which live adapters a step uses. */
export interface AdapterOptions {
  /** For all rows. @default the model's default adapters */
  readonly adapters?: AdapterChoice;
  /** For each row of a batch, instead; undefined: the model's default adapters. */
  readonly rowAdapters?: readonly (AdapterChoice | undefined)[];
}

/** A choice as a list. @throws InputError for what is no choice. */
export function listUses(choice: AdapterChoice): readonly AdapterUse[] {
  const uses = (Array.isArray(choice) ? choice : [choice]) as readonly AdapterUse[];
  for (const use of uses as readonly (AdapterUse | null | undefined)[])
    if (typeof use !== 'string' && typeof use?.name !== 'string')
      throw new InputError(`adapters must be names, or objects of name and weight, but one is ${shown(use)}`);
  return uses;
}

export const nameOfUse = (use: AdapterUse): string => (typeof use === 'string' ? use : use.name);
