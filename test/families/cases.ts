/**
 * @file The golden cases of each family.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Family } from '../../src/families/family.ts';
import { FAMILIES } from '../../src/families/table.ts';
import { unwrap } from '../../src/families/wrappers.ts';
import { FAMILY_CASES, MORE_CASES } from '../support/family-cases.ts';

export interface FamilyCases {
  /** The first of its model types. */
  readonly name: string;
  readonly family: Family;
  /** Folders. */
  readonly cases: readonly string[];
}

/**
 * All families, in the table's order. A checkpoint of several models counts for the one that is read unless another is
 * asked for.
 */
export function familyCases(): FamilyCases[] {
  const folders = [FAMILY_CASES, MORE_CASES].flatMap((root) =>
    readdirSync(root)
      .sort()
      .map((name) => join(root, name)),
  );
  const typeOf = (folder: string): unknown =>
    unwrap(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), folder, null).json.model_type;
  return FAMILIES.map((family) => ({
    name: family.modelTypes[0],
    family,
    cases: folders.filter((folder) => family.modelTypes.includes(String(typeOf(folder)))),
  }));
}
