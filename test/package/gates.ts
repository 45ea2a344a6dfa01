/**
 * @file Which packages of ggml npm installs, for each kind of platform, with the gates of a release and without them.
 */
import { join } from 'node:path';
import type { Release } from '../../scripts/pack.ts';
import { Project } from './project.ts';
import { startRegistry } from './registry.ts';
import type { Check } from './run.ts';

/**
 * Platforms, the flags by which npm installs for them, and what it has to install. Windows has a gate by the same table,
 * and is left out as each installation takes half a minute.
 */
const PLATFORMS: readonly (readonly [name: string, flags: readonly string[], ggml: readonly string[]])[] = [
  ['linux-x64', ['--os=linux', '--cpu=x64', '--libc=glibc'], ['linux-x64']],
  ['linux-arm64', ['--os=linux', '--cpu=arm64', '--libc=glibc'], ['linux-arm64']],
];

/**
 * @param plain the tarball of a package that was packed alone.
 * @param work a folder for projects.
 * @param registry has the release.
 */
export function gateChecks(plain: string, release: Release, work: string, registry: string): Check[] {
  const checks: Check[] = PLATFORMS.map(([platform, flags, ggml]) => [
    `ggml for ${platform}`,
    async () => {
      const project = new Project(join(work, platform), `keyhold@${release.main.version}`, registry);
      await project.install('module', [], flags);
      await project.expectGgml(...ggml);
    },
  ]);
  // The name is unknown to the registry, or this version of it is.
  for (const [title, tarball, known] of [
    ['the release from a file, where the name is unknown', release.main.tarball, []],
    ['the release from a file, where its gates are not published', release.main.tarball, [release.main.tarball]],
    ['the package from a file', plain, []],
  ] as const)
    checks.push([
      title,
      async () => {
        const [[, flags, ggml]] = PLATFORMS;
        const empty = await startRegistry(known);
        try {
          const project = new Project(join(work, title.replace(/\W+/g, '-')), tarball, empty.url);
          await project.install('module', [], flags);
          await project.expectGgml(...ggml);
        } finally {
          await empty.close();
        }
      },
    ]);
  return checks;
}
