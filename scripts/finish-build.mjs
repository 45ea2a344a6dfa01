/**
 * @file Finishes what the compiler emitted.
 *
 * - Bundles of what package.json gives Node. Of the compiler's JavaScript only the modules of browsers stay, which
 *   bundlers of pages take apart. Their comments are left out: declarations have them, too.
 * - The licences of packages that are in the bundles.
 * - Declarations that the entry points reach; the others are no part of the API.
 * - Declarations for TypeScript 5.4 to 5.6: typed arrays have a type parameter since 5.7 only, and the compiler writes
 *   it out where a type was inferred.
 * - URLs of modules (`new URL('./thread.ts', import.meta.url)`), whose extensions the compiler leaves as they are.
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { build, transform } from 'esbuild';
import { bundleForNode } from './bundle-node.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const DIST = join(ROOT, 'dist');
const SOURCES = join(ROOT, 'src');
/** The thread of `loadModelInWorker`. */
const THREAD = 'worker/thread-node.ts';
/** Packages of which the bundles have what the server uses, some 100 KiB; all of them takes 3.9 MB of disk. */
const BUNDLED = ['hono', '@hono/node-server'];
const WITH_PARAMETER = /\b((?:Float|Int|Uint|BigInt|BigUint)\d+(?:Clamped)?Array)<ArrayBuffer(?:Like)?>/g;
const MODULE_URL = /(new URL\('\.\/[\w-]+)\.ts(', import\.meta\.url\))/g;

/** A relative path in a declaration: of `import … from`, `export … from` and the type `import(…)`. */
const RELATIVE = /\b(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g;

/** `./dist/a/b.js` → the absolute path of `src/a/b.ts`. */
const sourceOf = (built) => join(SOURCES, relative('dist', built).replace(/\.js$/, '.ts'));

/** @returns absolute paths of these declarations, and of all that they import. */
async function declarationsOf(entries) {
  const reached = new Set(entries);
  for (const path of reached)
    for (const [, name] of (await readFile(path, 'utf8')).matchAll(RELATIVE))
      reached.add(resolve(dirname(path), name.replace(/(\.d)?\.[jt]s$/, '.d.ts')));
  return reached;
}

/** A module without its comments. Lines of code stay lines, and names stay names. */
async function withoutComments(text) {
  const { code } = await transform(text, { format: 'esm', target: 'es2023', charset: 'utf8', legalComments: 'inline' });
  return code;
}

/** The licences of the packages that these files are from. */
async function licencesOf(files) {
  const packages = new Set(files.map((path) => path.match(/^.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+/)?.[0]));
  packages.delete(undefined);
  const texts = [...packages].sort().map(async (folder) => {
    const { name, version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    return `${name} ${version}\n\n${await readFile(join(folder, 'LICENSE'), 'utf8')}`;
  });
  return (await Promise.all(texts)).join('\n----\n\n');
}

const { bin, exports } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
const targets = Object.entries(exports).filter(([, target]) => typeof target === 'object');
const ofPages = targets.map(([name, target]) => target.browser ?? (name.startsWith('./web') ? target.default : null));
const ofNode = targets.filter(([name]) => !name.startsWith('./web')).map(([, target]) => target.default);

const entries = [...[...ofNode, bin.keyhold].map(sourceOf), join(SOURCES, THREAD)];
const { written, read } = await bundleForNode(DIST, SOURCES, entries, BUNDLED);
await writeFile(join(DIST, 'LICENSES.txt'), await licencesOf(read));
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
const declarations = await declarationsOf(targets.map(([, { types }]) => join(ROOT, types)));
const bundles = new Set(written);
const wanted = new Set([...written, ...modules, ...declarations]);

for (const name of await readdir(DIST, { recursive: true })) {
  // The page of `keyhold serve` and the programs of bench/ are no modules of the compiler.
  if (!/\.(d\.ts|js)$/.test(name) || /^(page|bench)[\\/]/.test(name)) continue;
  const path = join(DIST, name);
  if (!wanted.has(path)) {
    await rm(path);
    continue;
  }
  const text = await readFile(path, 'utf8');
  let finished = name.endsWith('.js') ? text.replace(MODULE_URL, '$1.js$2') : text.replace(WITH_PARAMETER, '$1');
  if (name.endsWith('.js') && !bundles.has(path)) finished = await withoutComments(finished);
  if (finished !== text) await writeFile(path, finished);
}
