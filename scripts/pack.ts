/**
 * @file Packs a release: `npm run pack:release -- FOLDER`. Prints the tarballs in the order in which they are published.
 *
 * Some packages of ggml say that they are for x64, too, and installers would put them there. In a release a gate stands
 * before each: a package for one platform alone, which depends on it. A gate is a version of this package, so that no
 * other name has to be owned; package.json here has none, as they are on the registry with a release only.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Gate, gates, PACKAGE_VERSION } from '../src/backends/ggml/binding/platform.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** A packed version. */
export interface Packed {
  readonly version: string;
  /** The path of the tarball. */
  readonly tarball: string;
}

/** The tarballs of a release. */
export interface Release {
  readonly gates: readonly Packed[];
  readonly main: Packed;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly workspaces?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/**
 * Packs the package as it is here, for installations from a file. On a platform with a gate it is without ggml.
 * @returns the path of the tarball, in `folder`.
 */
export function packPlain(folder: string): string {
  return npmPack(ROOT, folder, []);
}

/**
 * Packs a release.
 * @param plain what {@link packPlain} has packed.
 * @param folder where the tarballs are written.
 */
export function packRelease(plain: string, folder: string): Release {
  const work = mkdtempSync(join(tmpdir(), 'keyhold-release-'));
  try {
    execFileSync('tar', ['-xzf', plain, '-C', work]);
    const main = join(work, 'package');
    const { workspaces: _, ...manifest } = JSON.parse(readFileSync(join(main, 'package.json'), 'utf8')) as Manifest;
    const packed = gates().map((gate) => packGate(gate, manifest, join(work, gate.name), folder));
    const aliases = packed.map(({ gate, version }) => [gate.name, `npm:${manifest.name}@${version}`] as const);
    writeManifest(main, {
      ...manifest,
      optionalDependencies: { ...manifest.optionalDependencies, ...Object.fromEntries(aliases) },
    });
    return {
      gates: packed,
      // The scripts of this package would take `dist` away, and build it again.
      main: { version: manifest.version, tarball: npmPack(main, folder, ['--ignore-scripts']) },
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function packGate(gate: Gate, main: Manifest, work: string, folder: string): Packed & { readonly gate: Gate } {
  const version = `${main.version}-${gate.name.slice(main.name.length + 1)}`;
  mkdirSync(work);
  writeManifest(work, {
    name: main.name,
    version,
    description: `A part of ${main.name} ${main.version}: what it needs on ${gate.os} with ${gate.cpu}.`,
    license: main.license,
    os: [gate.os],
    cpu: [gate.cpu],
    // ggml's packages for Linux have no build for musl.
    ...(gate.os === 'linux' ? { libc: ['glibc'] } : {}),
    dependencies: { [gate.package]: PACKAGE_VERSION },
  });
  writeFileSync(
    join(work, 'README.md'),
    `A part of ${main.name} ${main.version}, which installs it on ${gate.os} with ${gate.cpu}.\n`,
  );
  return { gate, version, tarball: npmPack(work, folder, []) };
}

function writeManifest(folder: string, manifest: object): void {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

function npmPack(folder: string, out: string, flags: readonly string[]): string {
  const printed = execFileSync('npm', ['pack', '--silent', '--pack-destination', resolve(out), ...flags], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return join(resolve(out), printed.trim().split('\n').at(-1)!);
}

const [, self, out] = process.argv;
if (self === fileURLToPath(import.meta.url)) {
  if (!out) throw new Error('into which folder? For example: npm run pack:release -- /tmp');
  const { gates: first, main } = packRelease(packPlain(out), out);
  for (const { version, tarball } of first)
    console.log(`npm publish ${tarball} --tag ${version.replace(/^[^-]*-/, '')}`);
  console.log(`npm publish ${main.tarball}`);
}
