/**
 * @file What is in the tarball.
 */
import { posix } from 'node:path';
import { command, ROOT } from './run.ts';

/**
 * @throws for files that must not be in the tarball, for pages that link to files that are not in it, and where the
 *   licence of a bundled package is missing.
 */
export async function checkContents(tarball: string): Promise<void> {
  const listed = await command('tar', ['-tzf', tarball], ROOT);
  const files = new Set(
    listed
      .trim()
      .split('\n')
      .map((line) => line.replace(/^package\//, '')),
  );
  const problems = [...files].filter((file) => /\.map$|\.test\.|expected\.safetensors|^src\//.test(file));
  for (const page of [...files].filter((file) => file.endsWith('.md'))) {
    const text = await command('tar', ['-xzOf', tarball, `package/${page}`], ROOT);
    for (const [, target] of text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
      if (/^https?:/.test(target)) continue;
      const path = posix.normalize(posix.join(posix.dirname(page), target)).replace(/\/$/, '');
      if (!files.has(path) && ![...files].some((file) => file.startsWith(`${path}/`)))
        problems.push(`${page} links to ${path}`);
    }
  }
  const licences = await command('tar', ['-xzOf', tarball, 'package/dist/LICENSES.txt'], ROOT);
  for (const name of ['hono', '@hono/node-server'])
    if (!new RegExp(`^${name} [\\d.]+\\n\\nMIT License`, 'm').test(licences)) problems.push(`no licence of ${name}`);
  if (problems.length > 0) throw new Error(problems.join('\n'));
}
