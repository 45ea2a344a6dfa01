/**
 * @file Finishes what the compiler emitted.
 *
 * - Declarations for TypeScript 5.4 to 5.6: typed arrays have a type parameter since 5.7 only, and the compiler writes
 *   it out where a type was inferred.
 * - URLs of modules (`new URL('./thread.ts', import.meta.url)`), whose extensions the compiler leaves as they are.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const DIST = join(import.meta.dirname, '../dist');
const WITH_PARAMETER = /\b((?:Float|Int|Uint|BigInt|BigUint)\d+(?:Clamped)?Array)<ArrayBuffer(?:Like)?>/g;
const MODULE_URL = /(new URL\('\.\/[\w-]+)\.ts(', import\.meta\.url\))/g;

for (const name of await readdir(DIST, { recursive: true })) {
  if (!/\.(d\.ts|js)$/.test(name)) continue;
  const text = await readFile(join(DIST, name), 'utf8');
  const finished = name.endsWith('.js') ? text.replace(MODULE_URL, '$1.js$2') : text.replace(WITH_PARAMETER, '$1');
  if (finished !== text) await writeFile(join(DIST, name), finished);
}
