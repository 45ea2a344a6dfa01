import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../util/errors.ts';
import { findLibraries, PACKAGE_VERSION } from './platform.ts';

/** A package on disk, as `require.resolve` finds it. */
async function fakePackage(version: string, files: readonly string[]) {
  const root = await mkdtemp(join(tmpdir(), 'keyhold-ggml-'));
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
