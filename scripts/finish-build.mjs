/**
 * @file Finishes what the compiler emitted.
 *
 * - Bundles of what package.json gives Node. Of the compiler's JavaScript only the modules of browsers stay, which
 *   bundlers of pages take apart.
 * - Declarations for TypeScript 5.4 to 5.6: typed arrays have a type parameter since 5.7 only, and the compiler writes
 *   it out where a type was inferred.
 * - URLs of modules (`new URL('./thread.ts', import.meta.url)`), whose extensions the compiler leaves as they are.
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { build } from 'esbuild';
import { bundleForNode } from './bundle-node.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const DIST = join(ROOT, 'dist');
const SOURCES = join(ROOT, 'src');
/** The thread of `loadModelInWorker`. */
const THREAD = 'worker/thread-node.ts';
const WITH_PARAMETER = /\b((?:Float|Int|Uint|BigInt|BigUint)\d+(?:Clamped)?Array)<ArrayBuffer(?:Like)?>/g;
const MODULE_URL = /(new URL\('\.\/[\w-]+)\.ts(', import\.meta\.url\))/g;

/** `./dist/a/b.js` → the absolute path of `src/a/b.ts`. */
const sourceOf = (built) => join(SOURCES, relative('dist', built).replace(/\.js$/, '.ts'));

const { bin, exports } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
const targets = Object.entries(exports).filter(([, target]) => typeof target === 'object');
const ofPages = targets.map(([name, target]) => target.browser ?? (name.startsWith('./web') ? target.default : null));
const ofNode = targets.filter(([name]) => !name.startsWith('./web')).map(([, target]) => target.default);

const written = await bundleForNode(DIST, SOURCES, [...[...ofNode, bin.keyhold].map(sourceOf), join(SOURCES, THREAD)]);
const { metafile } = await build({
  entryPoints: ofPages.filter((built) => built !== null).map(sourceOf),
  outdir: DIST,
  bundle: true,
  write: false,
  metafile: true,
  packages: 'external',
  format: 'esm',
});
const modules = Object.keys(metafile.inputs).map((path) => join(DIST, relative(SOURCES, path)).replace(/\.ts$/, '.js'));
const wanted = new Set([...written, ...modules]);

for (const name of await readdir(DIST, { recursive: true })) {
  // The page of `keyhold serve` and the programs of bench/ are no modules of the compiler.
  if (!/\.(d\.ts|js)$/.test(name) || /^(page|bench)[\\/]/.test(name)) continue;
  const path = join(DIST, name);
  if (name.endsWith('.js') && !wanted.has(path)) {
    await rm(path);
    continue;
  }
  const text = await readFile(path, 'utf8');
  const finished = name.endsWith('.js') ? text.replace(MODULE_URL, '$1.js$2') : text.replace(WITH_PARAMETER, '$1');
  if (finished !== text) await writeFile(path, finished);
}
