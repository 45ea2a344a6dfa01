/**
 * @file Chromium for tests: bundles of the library, a server of static files, and pages that run functions of the
 * bundle.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AxeResults } from 'axe-core';
import { type BuildResult, build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';

const ROOT = resolve(import.meta.dirname, '../..');
export const CHROMIUM_PATH = process.env.KEYHOLD_CHROMIUM ?? '/usr/bin/chromium';
/** Whether there is a Chromium to test with. */
export const hasChromium = existsSync(CHROMIUM_PATH);
/** Says why tests of browsers are skipped. */
export const WITHOUT_CHROMIUM = `skipped: there is no ${CHROMIUM_PATH} (apt-get install chromium, or set KEYHOLD_CHROMIUM)`;

/** Where the build of ONNX Runtime is that pages load. */
export const RUNTIME_FILES = dirname(fileURLToPath(import.meta.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm')));

/** Bundles entry points for a browser. @returns files by name. */
export async function bundle(
  entryPoints: Readonly<Record<string, string>>,
): Promise<{ files: ReadonlyMap<string, Uint8Array>; result: BuildResult }> {
  const entries = Object.entries(entryPoints).map(([name, path]) => [name, resolve(ROOT, path)]);
  const result = await build({
    entryPoints: Object.fromEntries(entries),
    bundle: true,
    write: false,
    minify: true,
    splitting: true,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    chunkNames: 'chunk-[hash]',
    outdir: '/out',
    conditions: ['onnxruntime-web-use-extern-wasm'],
    logLevel: 'silent',
  });
  const files = result.outputFiles.map(({ path, contents }) => [path.slice('/out/'.length), contents] as const);
  return { files: new Map(files), result };
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
};

/** Files of the page of `npm run web`. */
export async function buildPage(outDir: string): Promise<void> {
  const { build: buildSite } = await import('vite');
  await buildSite({
    ...{ configFile: join(ROOT, 'web/vite.config.ts'), root: join(ROOT, 'web'), logLevel: 'silent' },
    build: { outDir, emptyOutDir: true },
  });
}

/** What a server of pages serves: folders by their prefix, and files that were made. */
export interface SiteOptions {
  readonly folders: Readonly<Record<string, string>>;
  readonly files?: ReadonlyMap<string, Uint8Array | string>;
  /** Whether pages are isolated, so that WebAssembly has threads. */
  readonly isolated: boolean;
}

export interface Site {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves static files on a port of this machine. */
export async function serveSite({ folders, files, isolated }: SiteOptions): Promise<Site> {
  const server: Server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://x').pathname);
    const headers: Record<string, string> = {
      'content-type': TYPES[extname(path) || '.html'] ?? 'application/octet-stream',
      ...(isolated
        ? { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }
        : {}),
    };
    try {
      const made = files?.get(path.slice(1));
      const [prefix, folder] = Object.entries(folders).find(([name]) => path.startsWith(name)) ?? [];
      const body = made ?? (folder ? await readFile(join(folder, path.slice(prefix!.length) || 'index.html')) : null);
      if (body === null) throw new Error('not there');
      response.writeHead(200, { ...headers, 'content-length': String(Buffer.byteLength(body)) }).end(body);
    } catch {
      response.writeHead(404, { ...headers, 'content-type': 'text/plain' }).end('not found');
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/**
 * What the page of a test loads: the library as `globalThis.page`, its worker, workers of the test's own, and the
 * models of the package.
 */
export async function libraryPage(
  workers: Readonly<Record<string, string>> = {},
): Promise<Pick<SiteOptions, 'folders' | 'files'>> {
  const { files } = await bundle({ page: 'test/web/page.ts', thread: 'src/web/thread.ts', ...workers });
  const html =
    '<!doctype html><title>test</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>';
  return {
    folders: { '/ort/': RUNTIME_FILES, '/models/': join(ROOT, 'models') },
    files: new Map<string, Uint8Array | string>([...files, ['', html]]),
  };
}

/** A graphics card in software: SwiftShader, which comes with Chromium. */
const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--disable-vulkan-surface',
];

export const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--enable-blink-features=ForceEagerMeasureMemory',
] as const;

/** @param gpu whether pages have WebGPU. @default false */
export function launchChromium({ gpu = false }: { readonly gpu?: boolean } = {}): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM_PATH,
    args: [...(gpu ? SOFTWARE_GPU : []), ...CHROMIUM_FLAGS],
  });
}

/** A page whose errors and warnings are kept: `messages` must be empty at the end of a test. */
export async function openPage(browser: Browser, url: string): Promise<{ page: Page; messages: string[] }> {
  const page = await browser.newPage();
  const messages: string[] = [];
  page.on('pageerror', (error) => messages.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') messages.push(message.text());
  });
  await page.goto(url);
  return { page, messages };
}

/** What axe finds in a page, with light and with dark colours. */
export async function accessibilityViolations(page: Page): Promise<string[]> {
  // Not by a script tag, which a page's security policy may refuse.
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core'), 'utf8'));
  const found: string[] = [];
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate(() =>
      (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
    );
    found.push(...violations.map(({ id, nodes }) => `${id}, ${colorScheme}: ${nodes.map(({ html }) => html)}`));
  }
  return found;
}
