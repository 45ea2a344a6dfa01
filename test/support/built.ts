/**
 * @file The project's modules as JavaScript, for child processes of tests: a loader of TypeScript takes most of a short
 * process's time.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildSync } from 'esbuild';

const ROOT = join(import.meta.dirname, '../..');
/** Folders of modules; all else is where it is in the project. */
const FOLDERS = ['src', 'test', 'bench'];
/** Names the folder to this process and to its children. */
const VARIABLE = 'KEYHOLD_BUILT';
/** esbuild leaves the extensions of imports as they are. */
const TS_IMPORT = /((?:from |import |import\()"\.[^"\n]*)\.ts"/g;

/**
 * Compiles the project's modules, for this process and its children.
 * @returns removes them
 */
export function buildModules(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'keyhold-built-'));
  const modules = FOLDERS.flatMap((name) =>
    readdirSync(join(ROOT, name), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !/\.test\.ts$|\.d\.ts$|^fixtures/.test(path))
      .map((path) => join(ROOT, name, path)),
  );
  const { outputFiles } = buildSync({
    entryPoints: modules,
    outbase: ROOT,
    outdir: folder,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
  });
  for (const { path, text } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text.replaceAll(TS_IMPORT, '$1.js"'));
  }
  for (const name of readdirSync(ROOT)) if (!FOLDERS.includes(name)) symlinkSync(join(ROOT, name), join(folder, name));
  symlinkSync(join(ROOT, 'test/fixtures'), join(folder, 'test/fixtures'));
  process.env[VARIABLE] = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}

/** The compiled form of a module. Where the run of the tests has not compiled them, this process does. */
export function built(module: string): string {
  if (!process.env[VARIABLE]) process.once('exit', buildModules());
  return join(process.env[VARIABLE]!, relative(ROOT, module)).replace(/\.ts$/, '.js');
}

/** Its URL, for programs that import it. */
export const builtUrl = (module: string): string => pathToFileURL(built(module)).href;
