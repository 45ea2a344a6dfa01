/**
 * What an application bundles: nothing of Node, and no more bytes than planned.
 */
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { describe, expect, it } from 'vitest';
import { bundle } from '../support/browser.ts';
import { ENTRANCES, ROOT } from '../support/example-folder.ts';

/** Core, worker and the script of ONNX Runtime, in bytes of gzip. */
const MOST_BYTES = 215_000;
/** What only Node has; a bundler that meets it fails, or leaves an import behind. */
const OF_NODE = /["']node:[a-z_/]+|onnxruntime-node|\bkoffi\b|__vite-browser-external/g;
/** What of it remains: ONNX Runtime asks for it where there is a `process`, and a worker of a page has none. */
const found = (code: string) =>
  [...new Set(code.match(OF_NODE) ?? [])].filter((text) => !/node:(fs|module|os)/.test(text));

describe('the worker of a page', () => {
  it('is bundled by esbuild, and is small', async () => {
    const { files, result } = await bundle({ thread: 'src/web/thread.ts' });
    for (const code of files.values()) expect(found(new TextDecoder().decode(code))).toEqual([]);
    expect(Object.keys(result.metafile!.inputs).filter((path) => path.includes('-node'))).toEqual([]);
    const [first] = Object.values(result.metafile!.outputs).filter(({ entryPoint }) => entryPoint);
    // Readers of GGUF files are loaded when a GGUF file is opened.
    const atStart = [...files].filter(
      ([name]) =>
        name === 'thread.js' || first.imports.some((i) => i.kind === 'import-statement' && i.path.endsWith(name)),
    );
    const size = atStart.reduce((sum, [, code]) => sum + gzipSync(code, { level: 9 }).length, 0);
    expect(size).toBeGreaterThan(50_000);
    expect(size).toBeLessThan(MOST_BYTES);
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
