/**
 * What an application bundles: nothing of Node, and no more bytes than planned.
 */
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Metafile } from 'esbuild';
import { build } from 'vite';
import { describe, expect, it } from 'vitest';
import { bundle } from '../support/browser.ts';
import { ENTRANCES, ROOT } from '../support/example-folder.ts';

/** Core, worker and the script of ONNX Runtime, as a Llama without a chat template needs them, in bytes of gzip. */
const MOST_BYTES = 150_000;
/** The page of `npm run web` with `keyhold/web`, without the worker. */
const MOST_PAGE_BYTES = 20_000;
/** What only Node has; a bundler that meets it fails, or leaves an import behind. */
const OF_NODE = /["']node:[a-z_/]+|onnxruntime-node|\bkoffi\b|__vite-browser-external/g;
/**
 * What of it remains: ONNX Runtime asks for it where there is a `process`, and a worker of a page has none.
 * `getBuiltinModule` is a question, not an import.
 */
const found = (code: string) =>
  [...new Set(code.replace(/getBuiltinModule\?\.\(.node:\w+.\)/g, '').match(OF_NODE) ?? [])].filter(
    (text) => !/node:(fs|module|os)/.test(text),
  );

/** Files that are loaded with these, without those that come when they are needed. */
function atStart(files: ReadonlyMap<string, Uint8Array>, { outputs }: Metafile, entries: readonly string[]) {
  const loaded = new Set<string>(entries);
  const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);
  const byName = new Map(Object.entries(outputs).map(([path, output]) => [nameOf(path), output]));
  for (const name of loaded)
    for (const { kind, path } of byName.get(name)!.imports) if (kind === 'import-statement') loaded.add(nameOf(path));
  const size = [...loaded].reduce((sum, name) => sum + gzipSync(files.get(name)!, { level: 9 }).length, 0);
  return { size, inputs: [...loaded].flatMap((name) => Object.keys(byName.get(name)!.inputs)) };
}

describe('the worker of a page', () => {
  it('is bundled by esbuild, and is small', async () => {
    const { files, result } = await bundle({ thread: 'src/web/thread.ts' });
    for (const code of files.values()) expect(found(new TextDecoder().decode(code))).toEqual([]);
    expect(Object.keys(result.metafile!.inputs).filter((path) => path.includes('-node'))).toEqual([]);
    const { size, inputs } = atStart(files, result.metafile!, ['thread.js']);
    expect(size).toBeGreaterThan(50_000);
    expect(size).toBeLessThan(MOST_BYTES);
    const later = [
      ...['grammar/', 'chat/jinja/', 'checkpoint/gguf/checkpoint', 'families/table', 'web/hub-model'],
      ...[
        'model/further',
        'model/moe',
        'model/per-layer',
        'model/laurel',
        'model/mixers/mamba',
        'backends/onnx/lower/recurrences',
        'adapters/live/',
      ],
    ].map((path) => `src/${path}`);
    expect(inputs.filter((path) => later.some((each) => path.startsWith(each)) || /valibot/.test(path))).toEqual([]);
  });

  it('belongs to a page that is small, too', async () => {
    const { files, result } = await bundle({ main: 'web/main.ts', wasm: 'web/wasm.ts' });
    const { size } = atStart(files, result.metafile!, ['main.js', 'wasm.js']);
    expect(size).toBeGreaterThan(5_000);
    expect(size).toBeLessThan(MOST_PAGE_BYTES);
  });

  it('is found by Vite through loadModel', async () => {
    const root = await mkdtemp(join(tmpdir(), 'keyhold-vite-'));
    try {
      await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'));
      await writeFile(join(root, 'index.html'), '<!doctype html><script type="module" src="/main.ts"></script>');
      await writeFile(
        join(root, 'main.ts'),
        "import { loadModel } from 'keyhold/web';\n" +
          "loadModel('/models/tiny/', { runtimeFiles: '/ort/' }).then((model) => console.log(model.name));\n",
      );
      await build({
        root,
        configFile: false,
        logLevel: 'silent',
        resolve: { alias: { 'keyhold/web': join(ROOT, ENTRANCES['keyhold/web']) } },
        worker: { format: 'es' },
      });
      const assets = (await readdir(join(root, 'dist/assets'))).filter((name) => name.endsWith('.js'));
      expect(assets.some((name) => name.startsWith('thread'))).toBe(true);
      for (const name of assets) expect(found(await readFile(join(root, 'dist/assets', name), 'utf8'))).toEqual([]);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
});
