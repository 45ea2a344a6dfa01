import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { f32Tensor, ggufFile } from '../../test/support/gguf-bytes.ts';
import { COMMIT, ID, large, text, useHub } from '../../test/support/hub-fixture.ts';
import { ggufOfDownload } from './hub-node.ts';
import { hubGguf } from './names.ts';

const hub = useHub();
const file = (value: number) => large(ggufFile({ 'general.architecture': 'llama' }, { t: f32Tensor([1], [value]) }));

function serve(names: readonly string[]): void {
  const files = Object.fromEntries(names.map((name, i) => [name, file(i)]));
  hub.server.repos.set(ID, { commits: { [COMMIT]: { 'README.md': text('#'), ...files } }, refs: { main: COMMIT } });
}

describe('GGUF models on the hub', () => {
  it('are named by a quantization, or by a file', () => {
    expect(hubGguf('org/name:Q4_K_M')).toEqual({ id: 'org/name', gguf: 'Q4_K_M' });
    expect(hubGguf('org/name/a/b-Q8_0.gguf')).toEqual({ id: 'org/name', gguf: 'a/b-Q8_0.gguf' });
    for (const other of ['org/name', 'name', 'org/name/file.bin', 'C:/models/x', 'a:b'])
      expect(hubGguf(other)).toBeNull();
  });

  it('are downloaded alone, and found again without the hub', async () => {
    serve(['m-Q4_K_M.gguf', 'm-Q8_0.gguf', 'mmproj-m-Q8_0.gguf', 'sub/m-f16.gguf']);
    const folder = await hub.download({ gguf: 'q8_0' });
    expect(await readdir(folder)).toEqual(['m-Q8_0.gguf']);
    expect(await ggufOfDownload(folder, 'q8_0')).toBe(join(folder, 'm-Q8_0.gguf'));
    expect(await hub.download({ gguf: 'Q8_0', offline: true })).toBe(folder);
    await expect(hub.download({ gguf: 'Q2_K', offline: true })).rejects.toThrow(/not in the cache/);
    await hub.download({ gguf: 'sub/m-f16.gguf' });
    expect(await ggufOfDownload(folder, 'sub/m-f16.gguf')).toBe(join(folder, 'sub/m-f16.gguf'));
  });

  it('come with all shards', async () => {
    const shards = [1, 2, 3].map((i) => `Q4_0/m-Q4_0-0000${i}-of-00003.gguf`);
    serve([...shards, 'm-Q8_0.gguf']);
    const folder = await hub.download({ gguf: 'Q4_0' });
    expect((await readdir(join(folder, 'Q4_0'))).length).toBe(3);
    expect(await ggufOfDownload(folder, 'Q4_0')).toBe(join(folder, shards[0]));
  });

  it('need no name where there is one, or a Q4_K_M', async () => {
    serve(['m-Q8_0.gguf']);
    expect(await ggufOfDownload(await hub.download())).toMatch(/m-Q8_0.gguf$/);
    serve(['m-Q8_0.gguf', 'm-Q4_K_M.gguf']);
    expect(await ggufOfDownload(await hub.download({ revision: COMMIT, gguf: 'Q4_K_M' }))).toMatch(/m-Q/);
  });

  it('are listed where none, or no single one, is meant', async () => {
    serve(['a-Q8_0.gguf', 'b-Q8_0.gguf']);
    await expect(hub.download({ gguf: 'Q8_0' })).rejects.toThrow(/a-Q8_0.gguf, b-Q8_0.gguf/);
    await expect(hub.download({ gguf: 'Q2_K' })).rejects.toThrow(/"Q2_K"/);
    await expect(hub.download()).rejects.toThrow(/several GGUF models/);
  });
});
