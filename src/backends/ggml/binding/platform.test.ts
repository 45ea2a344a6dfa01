import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import { EngineError } from '../../../util/errors.ts';
import { findGpuLibrary, findLibraries, gpuPackage, PACKAGE_VERSION } from './platform.ts';

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
