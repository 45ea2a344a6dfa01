/**
 * @file What is in the tarball.
 */
import { join, posix } from 'node:path';
import { command, ROOT } from './run.ts';

/** Packs the package. @returns the path of the tarball. */
export async function pack(folder: string): Promise<string> {
  const out = await command('npm', ['pack', '--silent', '--pack-destination', folder], ROOT);
  return join(folder, out.trim().split('\n').at(-1)!);
}

/** @throws for files that must not be in the tarball, and for pages that link to files that are not in it. */
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
  if (problems.length > 0) throw new Error(problems.join('\n'));
}
