/**
 * @file Bundles programs for Node: `node scripts/bundle-node.mjs OUT BASE ENTRY…`. Modules that several entries share
 * are files of their own in OUT/chunks. Node takes about a millisecond to find, read and compile a module, and a model
 * needs 500 of them. Packages that package.json has for development only are in the bundles: of hono a part is used.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const MANIFEST = join(import.meta.dirname, '../package.json');

/**
 * @param {string} out the folder of the bundles.
 * @param {string} base entries lie in `out` as they lie in this folder.
 * @param {readonly string[]} entries files of TypeScript.
 * @returns absolute paths of what was written, and of what was read.
 */
export async function bundleForNode(out, base, entries) {
  const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(await readFile(MANIFEST, 'utf8'));
  const { metafile } = await build({
    entryPoints: [...entries],
    outdir: out,
    outbase: base,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    metafile: true,
    external: Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }),
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    charset: 'utf8',
    logLevel: 'warning',
  });
  const [written, read] = [metafile.outputs, metafile.inputs].map((files) =>
    Object.keys(files).map((path) => resolve(path)),
  );
  return { written, read };
}

const [, self, out, base, ...entries] = process.argv;
if (self === fileURLToPath(import.meta.url)) await bundleForNode(out, base, entries);
