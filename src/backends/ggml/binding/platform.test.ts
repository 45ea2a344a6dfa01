import { mkdir, mkdtemp, readFile, realpath, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import { EngineError } from '../../../util/errors.ts';
import { findGpuLibrary, findLibraries, gates, gpuPackage, PACKAGE_VERSION } from './platform.ts';

const ROOT = join(import.meta.dirname, '../../../..');
const folder = await tempFolder('ggml-packages');

/** A package on disk, as `require.resolve` finds it. */
async function fakePackage(version: string, files: readonly string[]) {
  const root = await mkdtemp(join(folder, 'cpu-'));
  await mkdir(join(root, 'dist'));
  await mkdir(join(root, 'bins/win-x64'), { recursive: true });
  await writeFile(join(root, 'package.json'), JSON.stringify({ version }));
  for (const file of files) await writeFile(join(root, 'bins/win-x64', file), '');
  return { resolve: Object.assign(() => join(root, 'dist/index.js'), { paths: () => null }) };
}

describe('findLibraries', () => {
  it('says what to do on a platform without a package', () => {
    expect(() => findLibraries('aix-ppc64')).toThrow(EngineError);
    expect(() => findLibraries('aix-ppc64')).toThrow(/no libraries for aix-ppc64; .*engine: 'onnx'/);
    expect(() => findLibraries('toString')).toThrow(EngineError);
  });

  it('names the package that is missing', () => {
    const resolve = Object.assign(
      () => {
        throw new Error('Cannot find module');
      },
      { paths: () => null },
    );
    expect(() => findLibraries('win32-arm64', undefined, { resolve })).toThrow(
      `npm install @node-llama-cpp/win-arm64@${PACKAGE_VERSION}`,
    );
  });

  it('refuses a package of another version, and one without libraries', async () => {
    const old = await fakePackage('3.0.0', ['ggml.dll', 'ggml-base.dll']);
    expect(() => findLibraries('win32-x64', undefined, old)).toThrow(/version 3\.0\.0, but .* needs/);
    const torn = await fakePackage(PACKAGE_VERSION, ['ggml-base.dll']);
    expect(() => findLibraries('win32-x64', undefined, torn)).toThrow(/damaged/);
  });

  it('finds the libraries under the names that platforms give them', async () => {
    for (const [base, registry, llama] of [
      ['ggml-base.dll', 'ggml.dll', 'llama.dll'],
      ['libggml-base.so', 'libggml.v0.4.0.so', 'libllama.v0.4.0.so'],
      ['libggml-base.dylib', 'libggml.v0.4.0.dylib', 'libllama.dylib'],
    ]) {
      const files = findLibraries('win32-x64', undefined, await fakePackage(PACKAGE_VERSION, [base, registry, llama]));
      expect([files.base, files.registry, files.llama].map((path) => path?.split(/[\\/]/).at(-1))).toEqual([
        base,
        registry,
        llama,
      ]);
    }
  });
});

describe('gates', () => {
  const LIBRARIES = ['libggml-base.so', 'libggml.so'];

  async function addPackage(root: string, name: string, files: readonly string[] = []) {
    await mkdir(join(root, 'dist'), { recursive: true });
    await mkdir(join(root, 'bins/linux-arm64'), { recursive: true });
    const exports = name.startsWith('@') ? { '.': './dist/index.js' } : undefined;
    await writeFile(join(root, 'package.json'), JSON.stringify({ name, version: PACKAGE_VERSION, exports }));
    await writeFile(join(root, 'dist/index.js'), '');
    for (const file of files) await writeFile(join(root, 'bins/linux-arm64', file), '');
  }

  /** `node_modules` as pnpm lays it out: this package's dependencies are links, and have theirs beside them. */
  async function pnpmProject(behind: boolean) {
    const store = join(await realpath(await mkdtemp(join(folder, 'pnpm-'))), 'node_modules/.pnpm');
    const [own, ofGate] = ['keyhold@1.0.0', 'keyhold@1.0.0-linux-arm64'].map((name) =>
      join(store, name, 'node_modules'),
    );
    await addPackage(join(own, 'keyhold'), 'keyhold');
    await addPackage(join(ofGate, 'keyhold'), 'keyhold');
    const root = join(ofGate, '@node-llama-cpp/linux-arm64');
    if (behind) await addPackage(root, '@node-llama-cpp/linux-arm64', LIBRARIES);
    await symlink(join(ofGate, 'keyhold'), join(own, 'keyhold-linux-arm64'), 'junction');
    return { require: createRequire(join(own, 'keyhold/dist/node.js')), root };
  }

  it('are looked behind where the package is not found from here', async () => {
    const { require, root } = await pnpmProject(true);
    expect(() => require.resolve('@node-llama-cpp/linux-arm64')).toThrow(/Cannot find/);
    expect(findLibraries('linux-arm64', undefined, require)).toMatchObject({
      base: join(root, 'bins/linux-arm64/libggml-base.so'),
    });
  });

  it('are not looked behind for packages that have none, such as builds for a GPU', async () => {
    const { require } = await pnpmProject(true);
    expect(() => findLibraries('linux-arm64', 'linux-arm64-other', require)).toThrow(/needs the package .*-other,/);
  });

  it('leave the command that installs the package where nothing is behind them', async () => {
    const { require } = await pnpmProject(false);
    const command = `npm install @node-llama-cpp/linux-arm64@${PACKAGE_VERSION},`;
    expect(() => findLibraries('linux-arm64', undefined, require)).toThrow(command);
  });

  it('and dependencies have all packages of ggml, in the version of the function table', async () => {
    const [direct, behind] = await Promise.all(
      ['package.json', 'gates/package.json'].map(async (file) => {
        const { optionalDependencies } = JSON.parse(await readFile(join(ROOT, file), 'utf8')) as {
          optionalDependencies: Record<string, string>;
        };
        return Object.entries(optionalDependencies).filter(([name]) => name.startsWith('@node-llama-cpp/'));
      }),
    );
    expect(behind.map(([name]) => name)).toEqual(gates().map((gate) => gate.package));
    expect(direct.map(([name]) => name).sort()).toEqual(
      ['linux-x64', 'mac-arm64-metal', 'mac-x64', 'win-x64'].map((name) => `@node-llama-cpp/${name}`),
    );
    for (const [name, version] of [...direct, ...behind]) expect(version, name).toBe(PACKAGE_VERSION);
  });
});

describe('findGpuLibrary', () => {
  const needed = gpuPackage('vulkan', 'linux-x64')!;
  const missing = {
    resolve: Object.assign(
      () => {
        throw new Error('Cannot find module');
      },
      { paths: () => null },
    ),
  };

  async function gpuBuild(version: string, files: readonly string[]) {
    const root = await mkdtemp(join(folder, 'gpu-'));
    await mkdir(join(root, 'bins/linux-x64-vulkan'), { recursive: true });
    await writeFile(join(root, 'package.json'), JSON.stringify({ version }));
    for (const file of files) await writeFile(join(root, 'bins/linux-x64-vulkan', file), '');
    return { resolve: Object.assign(() => join(root, 'dist/index.js'), { paths: () => null }) };
  }

  it('knows which platforms have which builds', () => {
    expect(needed.command).toBe(`npm install @node-llama-cpp/linux-x64-vulkan@${PACKAGE_VERSION}`);
    expect(gpuPackage('metal', 'darwin-arm64')).toBeNull();
    expect(gpuPackage('metal', 'linux-x64')).toBeUndefined();
    expect(gpuPackage('cuda', 'linux-arm64')).toBeUndefined();
    expect(gpuPackage('cuda', 'toString')).toBeUndefined();
  });

  it('names the package and the command where it is missing, of another version, or damaged', async () => {
    expect(() => findGpuLibrary('vulkan', needed, [missing, missing])).toThrow(EngineError);
    expect(() => findGpuLibrary('vulkan', needed, [missing])).toThrow(needed.command);
    const old = await gpuBuild('3.0.0', ['libggml-vulkan.so']);
    expect(() => findGpuLibrary('vulkan', needed, [old])).toThrow(/version 3\.0\.0, but .* is needed: npm install/);
    const torn = await gpuBuild(PACKAGE_VERSION, ['libggml-base.so']);
    expect(() => findGpuLibrary('vulkan', needed, [torn])).toThrow(/damaged: no library for vulkan/);
  });

  it('takes the first project that has the package', async () => {
    const there = await gpuBuild(PACKAGE_VERSION, ['libggml-base.so', 'libggml-vulkan.so']);
    expect(findGpuLibrary('vulkan', needed, [missing, there])).toMatch(/libggml-vulkan\.so$/);
  });
});
