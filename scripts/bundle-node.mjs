/**
 * @file Bundles programs for Node: `node scripts/bundle-node.mjs OUT BASE ENTRY…`. Modules that several entries share
 * are files of their own in OUT/chunks. Node takes about a millisecond to find, read and compile a module, and a model
 * needs 500 of them.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * @param {string} out the folder of the bundles.
 * @param {string} base entries lie in `out` as they lie in this folder.
 * @param {readonly string[]} entries files of TypeScript.
 * @returns {Promise<readonly string[]>} absolute paths of what was written.
 */
export async function bundleForNode(out, base, entries) {
  const { metafile } = await build({
    entryPoints: [...entries],
    outdir: out,
    outbase: base,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    metafile: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    charset: 'utf8',
    logLevel: 'warning',
  });
  return Object.keys(metafile.outputs).map((path) => resolve(path));
}

const [, self, out, base, ...entries] = process.argv;
if (self === fileURLToPath(import.meta.url)) await bundleForNode(out, base, entries);
