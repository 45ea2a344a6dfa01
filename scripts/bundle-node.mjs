/**
 * @file Bundles programs for Node: `node scripts/bundle-node.mjs OUT BASE ENTRY…`. Modules that several entries share
 * are files of their own in OUT/chunks. Node takes about a millisecond to find, read and compile a module, and a model
 * needs 500 of them.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Leaves imports of packages as they are, but for those that are to be `inside` the bundles. */
const packagesOutside = (inside) => ({
  name: 'packages-outside',
  setup({ onResolve }) {
    onResolve({ filter: /^[@\w]/ }, ({ path, kind }) =>
      kind === 'entry-point' || inside.some((name) => path === name || path.startsWith(`${name}/`))
        ? undefined
        : { path, external: true },
    );
  },
});

/**
 * @param {string} out the folder of the bundles.
 * @param {string} base entries lie in `out` as they lie in this folder.
 * @param {readonly string[]} entries files of TypeScript.
 * @param {readonly string[]} [inside] packages that are a part of the bundles.
 * @returns absolute paths of what was written, and of what was read.
 */
export async function bundleForNode(out, base, entries, inside = []) {
  const { metafile } = await build({
    entryPoints: [...entries],
    outdir: out,
    outbase: base,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    metafile: true,
    plugins: [packagesOutside(inside)],
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
