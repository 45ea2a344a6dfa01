/**
 * What the files of src/ import: the browser's entrance reaches nothing of Node's, and the rooms of the house keep to
 * their doors (docs/architecture.md).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../src');

/** Everything that a file imports when it runs, which types are not part of; or all that it names, types counted. */
function importsOf(text: string, types = false): string[] {
  const file = ts.createSourceFile('file.ts', text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && (types || !node.importClause?.isTypeOnly)) add(node.moduleSpecifier);
    else if (ts.isExportDeclaration(node) && (types || !node.isTypeOnly) && node.moduleSpecifier)
      add(node.moduleSpecifier);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  const add = (name: ts.Expression): void => {
    found.push(ts.isStringLiteralLike(name) ? name.text : 'something computed');
  };
  visit(file);
  return found;
}

/** All files that the entries reach, and the packages that each of them imports. */
async function reach(...entries: string[]): Promise<Map<string, string[]>> {
  const packages = new Map<string, string[]>();
  const queue = [...entries];
  for (const path of queue) {
    if (packages.has(path)) continue;
    const imports = importsOf(await readFile(path, 'utf8'));
    packages.set(
      path,
      imports.filter((name) => !name.startsWith('.')),
    );
    queue.push(...imports.filter((name) => name.startsWith('.')).map((name) => resolve(path, '..', name)));
  }
  return packages;
}

/** @param types count imports of types. */
async function sources(types = false): Promise<{ path: string; imports: string[] }[]> {
  const names = (await readdir(SRC, { recursive: true })).filter((n) => n.endsWith('.ts') && !n.endsWith('.test.ts'));
  return Promise.all(
    names.map(async (name) => ({
      path: name.split(sep).join('/'),
      imports: importsOf(await readFile(join(SRC, name), 'utf8'), types),
    })),
  );
}

/** The room of a file in src/: its folder, or its own name at the top. */
const roomOf = (path: string): string => path.split('/')[0];
/** The rooms, and packages, that a file imports from. */
const targetsOf = ({ path, imports }: { path: string; imports: string[] }): string[] =>
  imports.map((name) => (name.startsWith('.') ? roomOf(join(path, '..', name).split(sep).join('/')) : name));
/** What all folders may use. */
const isLeaf = (room: string): boolean => room === 'util';

/** What package.json gives where there is no Node. */
const BROWSER_ENTRIES = [
  'index.ts',
  ...['eval', 'policies', 'adapters', 'checkpoint'].map((name) => `exports/${name}.ts`),
].map((name) => join(SRC, name));

describe('the entrance of browsers', () => {
  it('reaches nothing that only Node has', async () => {
    const all = await reach(...BROWSER_ENTRIES);
    expect(all.size).toBeGreaterThan(50);
    for (const [path, packages] of all) {
      expect(relative(SRC, path)).not.toMatch(/-node\.ts$|^cli/);
      for (const name of packages) expect(name, path).not.toMatch(/^node:|^onnxruntime-node/);
    }
  });

  it('needs these packages and no others', async () => {
    const packages = new Set([...(await reach(...BROWSER_ENTRIES)).values()].flat());
    expect([...packages].sort()).toEqual(['valibot']);
  });

  it('would be seen through: Node’s entrance does reach them', async () => {
    const packages = new Set([...(await reach(join(SRC, 'node.ts'))).values()].flat());
    expect([...packages]).toEqual(expect.arrayContaining(['node:fs', 'onnxruntime-node']));
  });
});

describe('the rooms', () => {
  it('kvcache knows neither models nor ONNX, nor any package', async () => {
    const doors = new Set((await sources(true)).filter(({ path }) => roomOf(path) === 'kvcache').flatMap(targetsOf));
    expect([...doors].filter((door) => !isLeaf(door))).toEqual(['kvcache']);
  });

  it('each is entered by those above it only', async () => {
    /** Who may import what, besides itself and the leaves. */
    const doors: Readonly<Record<string, readonly string[]>> = {
      adapters: ['checkpoint', 'config', 'step', 'weights'],
      backends: ['config', 'kvcache', 'ops', 'weights'],
      chat: ['engine', 'kvcache', 'tokenizer'],
      checkpoint: [],
      config: [],
      engine: [
        'adapters',
        'backends',
        'chat',
        'checkpoint',
        'config',
        'kvcache',
        'model',
        'step',
        'tokenizer',
        'weights',
      ],
      families: ['config', 'weights'],
      hub: ['checkpoint'],
      kvcache: [],
      load: [
        'adapters',
        'backends',
        'chat',
        'checkpoint',
        'config',
        'engine',
        'families',
        'hub',
        'kvcache',
        'model',
        'step',
        'tokenizer',
        'weights',
      ],
      model: ['backends', 'config', 'kvcache', 'weights'],
      step: ['backends', 'config', 'kvcache', 'model', 'weights'],
      tokenizer: [],
      weights: ['checkpoint', 'config'],
    };
    const all = await sources(true);
    const rooms = new Set(all.map(({ path }) => roomOf(path)));
    for (const file of all) {
      const room = roomOf(file.path);
      if (!(room in doors)) continue;
      for (const target of targetsOf(file).filter((name) => rooms.has(name) && !isLeaf(name)))
        expect([room, ...doors[room]], `${file.path} imports from ${target}`).toContain(target);
    }
  });

  it('one file alone imports the native runtime, and the command alone its parser', async () => {
    for (const { path, imports } of await sources()) {
      if (imports.includes('onnxruntime-node')) expect(path).toBe('backends/onnx/onnxruntime-node.ts');
      if (imports.includes('commander')) expect(path).toMatch(/^cli\//);
      if (!path.startsWith('cli/')) expect(imports.filter((name) => name.includes('/cli/'))).toEqual([]);
    }
  });

  it('nothing in the library writes to the console', async () => {
    for (const name of await readdir(SRC, { recursive: true })) {
      if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
      expect(await readFile(join(SRC, name), 'utf8'), name).not.toMatch(/\bconsole\.\w+\(/);
    }
  });
});
