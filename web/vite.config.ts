/**
 * @file Builds the page, and serves it: `npm run web`. With the mode `server` it is the page of `keyhold serve`, whose models run there.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

export default defineConfig(({ mode }) => ({
  root: import.meta.dirname,
  base: './',
  resolve: { conditions: ['onnxruntime-web-use-extern-wasm', ...defaultClientConditions] },
  worker: { format: 'es' },
  plugins: mode === 'server' ? [] : [extraFiles()],
  // The service worker keeps a page that works without a network, which a server's does not.
  publicDir: mode === 'server' ? false : 'public',
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
