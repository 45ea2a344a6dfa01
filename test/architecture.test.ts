/**
 * Dependencies, file sizes and words of src/, as docs/architecture.md and docs/glossary.md state them.
 */
import { join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findCycle, moduleOf, resolveImport, type SourceFile, SRC, sourceFiles } from './support/imports.ts';

const FILES = await sourceFiles();
const BY_PATH = new Map(FILES.map((file) => [file.path, file]));

/** What each module may import besides itself and util. Modules that are not listed may import everything. */
const DEPENDENCIES: Readonly<Record<string, readonly string[]>> = {
  util: [],
  config: [],
  kvcache: [],
  tokenizer: [],
  grammar: ['tokenizer'],
  checkpoint: [],
  hub: ['checkpoint'],
  weights: ['checkpoint', 'config'],
  families: ['checkpoint', 'config', 'weights'],
  ops: ['config', 'kvcache', 'weights'],
  model: ['ops', 'config', 'kvcache', 'weights'],
  backends: ['config', 'kvcache', 'ops', 'weights'],
  step: ['backends', 'model', 'ops', 'config', 'kvcache', 'weights'],
  adapters: ['checkpoint', 'config', 'families', 'kvcache', 'model', 'ops', 'step', 'weights'],
  engine: ['adapters', 'backends', 'config', 'grammar', 'kvcache', 'model', 'step', 'tokenizer', 'weights'],
  embed: ['checkpoint', 'config', 'step', 'tokenizer'],
  chat: ['engine', 'config', 'kvcache', 'tokenizer'],
  load: [
    'adapters',
    'backends',
    'chat',
    'checkpoint',
    'config',
    'embed',
    'engine',
    'families',
    'hub',
    'kvcache',
    'model',
    'ops',
    'step',
    'tokenizer',
    'weights',
  ],
};

/** What each folder of backends/ggml may import of that module. */
const GGML_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  binding: [],
  memory: ['binding'],
  devices: ['binding', 'memory'],
  weights: ['binding', 'memory'],
  lower: ['binding', 'memory', 'weights'],
  graph: ['binding', 'memory', 'devices', 'weights', 'lower'],
};

/** All files that the entries reach by values, and the packages that each of them imports. */
function reach(...entries: readonly string[]): Map<string, string[]> {
  const packages = new Map<string, string[]>();
  const queue = [...entries];
  for (const path of queue) {
    if (packages.has(path)) continue;
    const imports = BY_PATH.get(path)!.valueImports;
    packages.set(
      path,
      imports.filter((name) => !name.startsWith('.')),
    );
    queue.push(...imports.filter((name) => name.startsWith('.')).map((name) => resolveImport(path, name)));
  }
  return packages;
}

/** What package.json gives where there is no Node. */
const BROWSER_ENTRIES = [
  'index.ts',
  ...['eval', 'policies', 'adapters', 'checkpoint'].map((name) => `exports/${name}.ts`),
];

describe('the entry points of browsers', () => {
  it('reach nothing that only Node has', () => {
    const all = reach(...BROWSER_ENTRIES);
    expect(all.size).toBeGreaterThan(50);
    for (const [path, packages] of all) {
      expect(path).not.toMatch(/-node\.ts$|^cli/);
      for (const name of packages) expect(name, path).not.toMatch(/^node:|^onnxruntime-node|^koffi/);
    }
  });

  it('need one package and no others', () => {
    const packages = new Set([...reach(...BROWSER_ENTRIES).values()].flat());
    expect([...packages].sort()).toEqual(['valibot']);
  });

  it('reach the engine of browsers in the worker of a page alone', () => {
    const page = reach('exports/web.ts');
    const worker = reach('web/thread.ts');
    for (const [path, packages] of [...page, ...worker]) {
      expect(path).not.toMatch(/-node\.ts$|^cli/);
      for (const name of packages) expect(name, path).not.toMatch(/^node:|^onnxruntime-node|^koffi/);
    }
    expect([...page.values()].flat()).toEqual([]);
    expect([...page.keys()].filter((path) => /^(families|model|ops|backends)\//.test(path))).toEqual([]);
    const packages = new Set([...worker.values()].flat());
    packages.delete('something computed'); // a policy's module, which the page names
    expect([...packages].sort()).toEqual([
      'onnxruntime-web/jspi',
      'onnxruntime-web/wasm',
      'onnxruntime-web/webgpu',
      'valibot',
    ]);
  });

  it('are told from the entry point of Node by this test', () => {
    const packages = new Set([...reach('node.ts').values()].flat());
    expect([...packages]).toEqual(expect.arrayContaining(['node:fs', 'onnxruntime-node']));
  });
});

describe('dependencies', () => {
  it('have no cycles; imports of types count', () => {
    expect(findCycle(FILES)).toBeNull();
  });

  it('would be seen in a cycle', () => {
    const file = (path: string, target: string): SourceFile => ({
      path,
      text: '',
      imports: [target],
      valueImports: [],
    });
    expect(findCycle([file('a/x.ts', '../b/y.ts'), file('b/y.ts', '../a/x.ts')])).toEqual([
      'a/x.ts',
      'b/y.ts',
      'a/x.ts',
    ]);
  });

  it('go down only', () => {
    const wrong: string[] = [];
    for (const { path, imports } of FILES) {
      const allowed = DEPENDENCIES[moduleOf(path)];
      if (!allowed) continue;
      for (const name of imports.filter((name) => name.startsWith('.'))) {
        const target = moduleOf(resolveImport(path, name));
        if (target !== moduleOf(path) && target !== 'util' && !allowed.includes(target))
          wrong.push(`${path} → ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('go down only in backends/ggml', () => {
    const root = 'backends/ggml/';
    const folderOf = (path: string): string => moduleOf(path.slice(root.length));
    const own = FILES.filter(({ path }) => path.startsWith(root) && path !== `${root}ggml-backend.ts`);
    expect(new Set(own.map(({ path }) => folderOf(path)))).toEqual(new Set(Object.keys(GGML_FOLDERS)));
    for (const { path, imports } of own)
      for (const name of imports.filter((name) => name.startsWith('.'))) {
        const target = resolveImport(path, name);
        if (target.startsWith(root) && folderOf(target) !== folderOf(path))
          expect(GGML_FOLDERS[folderOf(path)], `${path} → ${target}`).toContain(folderOf(target));
      }
  });

  it('kvcache imports util only, and of packages the checks of files', () => {
    for (const { path, imports } of FILES.filter((file) => moduleOf(file.path) === 'kvcache'))
      for (const name of imports) {
        if (name === 'valibot') continue;
        expect(name, path).toMatch(/^\./);
        expect(['kvcache', 'util'], path).toContain(moduleOf(resolveImport(path, name)));
      }
  });

  it('on an engine or a parser are in one place each', () => {
    for (const { path, imports } of FILES) {
      if (imports.includes('onnxruntime-node')) expect(path).toBe('backends/onnx/onnxruntime-node.ts');
      if (imports.some((name) => name.startsWith('onnxruntime-web')))
        expect(path).toMatch(/^backends\/onnx\/onnxruntime-web(gpu)?\.ts$/);
      if (imports.includes('koffi')) expect(path).toMatch(/^backends\/ggml\//);
      if (imports.includes('commander')) expect(path).toMatch(/^cli\//);
      if (!path.startsWith('cli/')) expect(imports.filter((name) => name.includes('/cli/'))).toEqual([]);
    }
  });
});

describe('files', () => {
  it('write nothing to the console in the library', () => {
    // Examples in comments may.
    for (const { path, text } of FILES) expect(text, path).not.toMatch(/^(?! +\* ).*\bconsole\.\w+\(/m);
  });

  it('begin with what is in them', () => {
    for (const { path, text } of FILES) expect(text, path).toMatch(/^(#!.*\n|\/\/\/ .*\n)?\/\*\*(\n \*)? @file \S/);
  });

  it('have 400 lines at most', () => {
    const long = FILES.filter(({ text }) => text.split('\n').length > 401).map(({ path }) => path);
    expect(long).toEqual([]);
  });

  it('are where the test looks for them', () => {
    expect(relative(resolve(import.meta.dirname, '..'), SRC)).toBe('src');
    expect(BY_PATH.has('kvcache/kv-cache.ts'), join(SRC, 'kvcache')).toBe(true);
  });
});

/** Words that the glossary has another word for. "In place" and "in place of" are none of them. */
const REPLACED: Readonly<Record<string, RegExp>> = {
  'a term for a location or position': /(?<!\bin )(?<!\b(?:its|their) )(?<![.'])\bplaces?\b(?!:)/i,
  headroom: /\brooms?\b/i,
  'groupIndex, slotView, SharedBatch': /\blanes?\b/i,
  SlotArray: /\bPlane(Data)?\b/,
  'TokenStream, RequestQueue, BatchMember, Speculator': /\b(intake|passengers?|lookahead|takeIn)\b/i,
  contextLength: /\bblockSize\b/,
  '@default': /\bunless stated\b/i,
  'the subject': /\b(who|whom|whoever|somebody|nobody)\b/i,
  'modules, layers': /\b(house|doors)\b/i,
  'trained on': /\braised on\b/i,
};

describe('words', () => {
  it.each(Object.entries(REPLACED))('are %s, not what it replaced', (_, pattern) => {
    // Passages that models are calibrated with are not the project's words.
    const own = FILES.filter(({ path }) => path !== 'engine/calibration/calibration-texts.ts');
    const found = own.flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1} ${line.trim()}`] : [])),
    );
    expect(found).toEqual([]);
  });
});
