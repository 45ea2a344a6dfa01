/**
 * @file Builds the page, and serves it: `npm run web`. With the mode `server` it is the page of `keyhold serve`, whose models run there.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultClientConditions, defineConfig, type Plugin } from 'vite';

const ROOT = join(import.meta.dirname, '..');
const RUNTIME = dirname(fileURLToPath(import.meta.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm')));
/** Without isolation WebAssembly has one thread. */
const HEADERS = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

/** Puts the files of ONNX Runtime and of the small model beside the page. */
function extraFiles(): Plugin {
  const folders = [
    ['ort', RUNTIME, /^ort-wasm-simd-threaded(\.jspi|\.asyncify)?\.(wasm|mjs)$/],
    [
      'models/tiny',
      join(ROOT, 'models/tiny'),
      /^(config|generation_config|tokenizer|tokenizer_config)\.json$|^model\.safetensors$/,
    ],
  ] as const;
  return {
    name: 'keyhold-extra-files',
    generateBundle() {
      for (const [to, from, wanted] of folders)
        for (const name of readdirSync(from).filter((file) => wanted.test(file)))
          this.emitFile({ type: 'asset', fileName: `${to}/${name}`, source: readFileSync(join(from, name)) });
    },
  };
}

/** Tells the service worker which files the page has. Builds for WebGPU are large, and kept when they are used. */
function serviceWorker(): Plugin {
  return {
    name: 'keyhold-service-worker',
    writeBundle({ dir }) {
      const files = readdirSync(dir!, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !/\.(jspi|asyncify)\.|^sw\.js$/.test(entry.name))
        .map(({ parentPath, name }) =>
          join(parentPath, name)
            .slice(dir!.length + 1)
            .replaceAll(sep, '/'),
        )
        .sort();
      const hash = createHash('sha256');
      for (const name of files) hash.update(name).update(readFileSync(join(dir!, name)));
      const lists = JSON.stringify([hash.digest('hex').slice(0, 16), ['./', ...files]]);
      const code = readFileSync(join(import.meta.dirname, 'sw.js'), 'utf8');
      writeFileSync(join(dir!, 'sw.js'), code.replace("['', []]", lists));
    },
  };
}

export default defineConfig(({ mode }) => ({
  root: import.meta.dirname,
  base: './',
  resolve: { conditions: ['onnxruntime-web-use-extern-wasm', ...defaultClientConditions] },
  worker: { format: 'es' },
  // A server's page does not work without a network.
  plugins: mode === 'server' ? [] : [extraFiles(), serviceWorker()],
  publicDir: false,
  build: {
    outDir: join(ROOT, mode === 'server' ? 'dist/page' : 'dist-page'),
    emptyOutDir: true,
    target: 'es2023',
    rolldownOptions: {
      output: { codeSplitting: { groups: [{ name: 'keyhold', test: /[\\/]src[\\/]/ }] } },
    },
  },
  preview: { headers: HEADERS, port: 8080 },
}));
