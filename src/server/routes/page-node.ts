/**
 * @file Reads the files of the server's page, which `npm run build` puts into dist/page.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { packageFile } from '../../util/files/shipped-node.ts';
import type { PageFiles } from './page-files.ts';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
};

/** null: the page was not built. */
export async function readPageFiles(folder = packageFile('dist/page')): Promise<PageFiles | null> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  if (!files.some(({ name }) => name === 'index.html')) return null;
  return new Map(
    await Promise.all(
      files.map(async ({ parentPath, name }) => {
        const file = join(parentPath, name);
        const path = relative(folder, file).split(sep).join('/');
        const type = TYPES[name.slice(name.lastIndexOf('.') + 1)] ?? 'application/octet-stream';
        return [path === 'index.html' ? '' : path, { type, body: new Uint8Array(await readFile(file)) }] as const;
      }),
    ),
  );
}
