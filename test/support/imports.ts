/**
 * @file The imports of the files in src/, read from their text. Imports of types count.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import ts from 'typescript';

export const SRC = resolve(import.meta.dirname, '../../src');

export interface SourceFile {
  /** Relative to src/, with slashes. */
  readonly path: string;
  readonly text: string;
  /** All imports: relative paths and packages. */
  readonly imports: readonly string[];
  /** Those that remain when types are removed. */
  readonly valueImports: readonly string[];
}

/** All files of src/ that are no tests. */
export async function sourceFiles(): Promise<SourceFile[]> {
  const names = (await readdir(SRC, { recursive: true })).filter((n) => n.endsWith('.ts') && !n.endsWith('.test.ts'));
  return Promise.all(
    names.sort().map(async (name) => {
      const text = await readFile(join(SRC, name), 'utf8');
      return { path: name.split(sep).join('/'), text, ...importsOf(text) };
    }),
  );
}

function importsOf(text: string): Pick<SourceFile, 'imports' | 'valueImports'> {
  const file = ts.createSourceFile('file.ts', text, ts.ScriptTarget.Latest, true);
  const imports: string[] = [];
  const valueImports: string[] = [];
  const add = (name: ts.Expression, isType: boolean): void => {
    const target = ts.isStringLiteralLike(name) ? name.text : 'something computed';
    imports.push(target);
    if (!isType) valueImports.push(target);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly ?? false);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal as ts.Expression, true);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return { imports, valueImports };
}

/** The folder of a file in src/, or its own name at the top. */
export function moduleOf(path: string): string {
  return path.split('/')[0];
}

/** The path in src/ that a relative import of `path` leads to. */
export function resolveImport(path: string, target: string): string {
  return join(path, '..', target).split(sep).join('/');
}

/** The first cycle of imports, as a list of files; null where there is none. */
export function findCycle(files: readonly SourceFile[]): string[] | null {
  const graph = new Map(
    files.map(({ path, imports }) => [
      path,
      imports.filter((name) => name.startsWith('.')).map((name) => resolveImport(path, name)),
    ]),
  );
  const done = new Set<string>();
  const stack: string[] = [];
  const walk = (path: string): string[] | null => {
    const start = stack.indexOf(path);
    if (start >= 0) return [...stack.slice(start), path];
    if (done.has(path)) return null;
    stack.push(path);
    for (const next of graph.get(path) ?? []) {
      const cycle = walk(next);
      if (cycle) return cycle;
    }
    stack.pop();
    done.add(path);
    return null;
  };
  for (const path of graph.keys()) {
    const cycle = walk(path);
    if (cycle) return cycle;
  }
  return null;
}
