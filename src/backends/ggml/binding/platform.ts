/**
 * @file Which package has ggml's libraries for this platform, and where its files are.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { EngineError } from '../../../util/errors.ts';

/** The version of the packages that the function table was written for. */
export const PACKAGE_VERSION = '3.21.1';
/** What `ggml_version()` of these packages says. */
export const GGML_VERSION = '0.23.0';

interface Platform {
  /** Of npm, in the scope `@node-llama-cpp`. */
  readonly package: string;
  /** The folder of `bins/`. */
  readonly folder: string;
  /** A release has a {@link Gate} before the package, which says of itself that it is for x64, too. */
  readonly gated: boolean;
}

const same = (name: string): Platform => ({ package: name, folder: name, gated: false });
const gated = (name: string): Platform => ({ ...same(name), gated: true });

/**
 * By `process.platform` and `process.arch`. The build for 32-bit ARM is left out: fields of tensors are read for
 * pointers of 8 bytes.
 */
const PLATFORMS: Readonly<Record<string, Platform>> = {
  'linux-x64': same('linux-x64'),
  'linux-arm64': gated('linux-arm64'),
  'darwin-arm64': same('mac-arm64-metal'),
  'darwin-x64': same('mac-x64'),
  'win32-x64': same('win-x64'),
  'win32-arm64': gated('win-arm64'),
};

/**
 * A package that only one platform installs, and that depends on ggml's package for it. It is published as a version of
 * this package, under a name that package.json gives it (scripts/pack.ts).
 */
export interface Gate {
  /** The name that this package's dependencies give it. */
  readonly name: string;
  /** `linux`, `win32`: of `process.platform`. */
  readonly os: string;
  /** `arm64`: of `process.arch`. */
  readonly cpu: string;
  /** What it depends on. */
  readonly package: string;
}

const gateName = (packageName: string): string => `keyhold-${packageName}`;

/** All gates of a release. */
export function gates(): Gate[] {
  return Object.entries(PLATFORMS)
    .filter(([, known]) => known.gated)
    .map(([platform, known]) => {
      const [os, cpu] = platform.split('-');
      return { name: gateName(known.package), os, cpu, package: `@node-llama-cpp/${known.package}` };
    });
}

/** Kinds of GPU builds. */
export type GpuKind = 'cuda' | 'metal' | 'vulkan';
/** All kinds, the one that is usually the fastest first. */
export const GPU_KINDS: readonly GpuKind[] = ['cuda', 'metal', 'vulkan'];

/**
 * Packages with a library for a kind of device, which are not installed with this one; null: the package of the CPU has
 * it.
 */
const GPU_PACKAGES: Readonly<Record<string, Partial<Record<GpuKind, string | null>>>> = {
  'linux-x64': { vulkan: 'linux-x64-vulkan', cuda: 'linux-x64-cuda' },
  'win32-x64': { vulkan: 'win-x64-vulkan', cuda: 'win-x64-cuda' },
  'darwin-arm64': { metal: null },
};

/**
 * Finds files of installed packages, as Node's `require` does. Named here, as the package's types need none of Node's.
 */
interface Resolver {
  resolve(name: string): string;
}

/** What has to be installed for a kind of device. */
export interface GpuPackage {
  readonly name: string;
  readonly command: string;
}

/** @returns undefined: there is none for the platform; null: it needs no package of its own. */
export function gpuPackage(
  kind: GpuKind,
  platform: string = `${process.platform}-${process.arch}`,
): GpuPackage | null | undefined {
  const known = Object.hasOwn(GPU_PACKAGES, platform) ? GPU_PACKAGES[platform][kind] : undefined;
  if (!known) return known as null | undefined;
  const name = `@node-llama-cpp/${known}`;
  return { name, command: `npm install ${name}@${PACKAGE_VERSION}` };
}

/**
 * The library of a GPU package, from this package's folder or the project's, which is the current folder, or
 * `$KEYHOLD_GPU_PACKAGES`.
 * @throws EngineError where the package is not installed, or has another version.
 */
export function findGpuLibrary(
  kind: GpuKind,
  { name, command }: GpuPackage,
  requires: readonly Resolver[] = projects(),
): string {
  for (const require of requires) {
    let entry: string;
    try {
      entry = require.resolve(name);
    } catch {
      continue;
    }
    const root = dirname(dirname(entry));
    const version = versionIn(root);
    if (version !== PACKAGE_VERSION)
      throw new EngineError(`the package ${name} is version ${version}, but ${PACKAGE_VERSION} is needed: ${command}`);
    const folder = join(root, 'bins', name.slice(name.indexOf('/') + 1));
    const file = libraryIn(folder, `ggml-${kind}`);
    if (!file)
      throw new EngineError(`${folder}: the package ${name} is damaged: no library for ${kind} in it; ${command}`);
    return file;
  }
  throw new EngineError(`the device ${kind} needs the package ${name}, which is not installed: ${command}`);
}

function projects(): NodeJS.Require[] {
  const folders = [process.env.KEYHOLD_GPU_PACKAGES, process.cwd()].filter(
    (folder) => folder !== undefined && folder !== '',
  );
  return [import.meta.url, ...folders.map((folder) => join(folder as string, 'package.json'))].map((from) =>
    createRequire(from),
  );
}

const OTHER_ENGINE =
  "or use the other engine: npm install onnxruntime-node, and load with the option engine: 'onnx' (command line: --engine onnx)";

/** The shared libraries of one package. */
export interface LibraryFiles {
  readonly folder: string;
  /** Tensors and graphs. */
  readonly base: string;
  /** Devices and their registry. */
  readonly registry: string;
  /** libllama, for comparisons. */
  readonly llama: string | null;
}

/**
 * Finds the libraries.
 * @param platform `${process.platform}-${process.arch}`
 * @param packageName another package of the same version, such as a GPU build.
 * @throws EngineError for a platform without a package, a package that is not installed, or one of another version.
 */
export function findLibraries(
  platform: string = `${process.platform}-${process.arch}`,
  packageName?: string,
  require: Resolver = createRequire(import.meta.url),
): LibraryFiles {
  const known = Object.hasOwn(PLATFORMS, platform) ? PLATFORMS[platform] : null;
  if (!known) throw new EngineError(`the ggml engine has no libraries for ${platform}; ${OTHER_ENGINE}`);
  const name = `@node-llama-cpp/${packageName ?? known.package}`;
  const gate = known.gated && packageName === undefined ? gateName(known.package) : null;
  const root = packageRoot(name, gate, require);
  const version = versionIn(root);
  if (version !== PACKAGE_VERSION)
    throw new EngineError(
      `the package ${name} is version ${version}, but the ggml engine needs ${PACKAGE_VERSION}: ` +
        `npm install ${name}@${PACKAGE_VERSION}, ${OTHER_ENGINE}`,
    );
  return librariesIn(join(root, 'bins', packageName ?? known.folder), name);
}

/** @param gate the name of a package that depends on it: pnpm and Yarn let that one alone find it. */
function packageRoot(name: string, gate: string | null, require: Resolver): string {
  try {
    return dirname(dirname(require.resolve(name)));
  } catch (cause) {
    const behind = gate === null ? null : behindGate(name, gate, require);
    if (behind !== null) return dirname(dirname(behind));
    const why = gate === null ? 'an install with' : 'a package that is not from the registry, or';
    throw new EngineError(
      `the ggml engine needs the package ${name}, which is not installed (${why} --omit=optional leaves it out): ` +
        `npm install ${name}@${PACKAGE_VERSION}, ${OTHER_ENGINE}`,
      { cause },
    );
  }
}

function behindGate(name: string, gate: string, require: Resolver): string | null {
  try {
    return createRequire(require.resolve(`${gate}/package.json`)).resolve(name);
  } catch {
    return null;
  }
}

function versionIn(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
}

/** A library by its name. File names differ by platform: `libggml-base.so`, `libggml.v0.4.0.dylib`, `ggml.dll`. */
function libraryIn(folder: string, name: string): string | null {
  const pattern = new RegExp(`^(lib)?${name}(\\.v[\\d.]+)?\\.(so|dll|dylib)$`);
  const file = (existsSync(folder) ? readdirSync(folder) : []).find((candidate) => pattern.test(candidate));
  return file === undefined ? null : join(folder, file);
}

function librariesIn(folder: string, name: string): LibraryFiles {
  const base = libraryIn(folder, 'ggml-base');
  const registry = libraryIn(folder, 'ggml');
  if (!base || !registry)
    throw new EngineError(`${folder}: the package ${name} is damaged: no ggml library in it; install it again`);
  return { folder, base, registry, llama: libraryIn(folder, 'llama') };
}
