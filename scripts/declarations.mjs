/**
 * @file Makes the emitted declarations readable for TypeScript 5.4 to 5.6: typed arrays have a type parameter since 5.7 only, and the
 * compiler writes it out where a type was inferred.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const DIST = join(import.meta.dirname, '../dist');
const WITH_PARAMETER = /\b((?:Float|Int|Uint|BigInt|BigUint)\d+(?:Clamped)?Array)<ArrayBuffer(?:Like)?>/g;

for (const name of await readdir(DIST, { recursive: true })) {
  if (!name.endsWith('.d.ts')) continue;
  const text = await readFile(join(DIST, name), 'utf8');
  const plain = text.replace(WITH_PARAMETER, '$1');
  if (plain !== text) await writeFile(join(DIST, name), plain);
}
