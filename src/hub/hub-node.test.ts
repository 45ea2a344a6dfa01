import { lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMIT, ID, large, model, NEXT, text, useHub, weights } from '../../test/support/hub-fixture.ts';
import { etagOf } from '../../test/support/hub-server.ts';
import { f32, safetensorsFile } from '../../test/support/safetensors-bytes.ts';
import { openCheckpointFolder } from '../checkpoint/open-node.ts';
import type { HubProgress } from './hub-node.ts';

const hub = useHub();

describe('downloadFromHub', () => {
  it('lays the cache out as Python does, and fetches only what is needed', async () => {
    const folder = await hub.download();
    expect(folder).toBe(join(hub.repoFolder, 'snapshots', COMMIT));
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(await readFile(join(hub.repoFolder, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(await readlink(join(folder, 'config.json'))).toBe(`../../blobs/${etagOf(model['config.json'])}`);
    expect((await readdir(join(hub.repoFolder, 'blobs'))).sort()).toEqual(
      ['config.json', 'model.safetensors', 'tokenizer.json'].map((file) => etagOf(model[file])).sort(),
    );
    expect(await readdir(join(hub.cacheDir, '.locks', 'models--org--tiny'))).toEqual([]);
    const checkpoint = await openCheckpointFolder(folder);
    expect([...(await checkpoint.tensors.get('a')!.readFloats(70_000, 2))]).toEqual([70_000, 70_001]);
    await checkpoint.close();
  });

  it('fetches the files of sentence-transformers where they are listed', async () => {
    const more = {
      'modules.json': text('[]'),
      'config_sentence_transformers.json': text('{}'),
      'sentence_bert_config.json': text('{}'),
      '1_Pooling/config.json': text('{"pooling_mode_cls_token":true}'),
      '2_Dense/config.json': text('{}'),
      '2_Dense/model.safetensors': text('weights'),
    };
    const other = { '2_Dense/pytorch_model.bin': text('pickle'), 'onnx/config.json': text('{}') };
    hub.server.repos.set(ID, { commits: { [COMMIT]: { ...model, ...more, ...other } }, refs: { main: COMMIT } });
    const folder = await hub.download();
    for (const [name, { content }] of Object.entries(more))
      expect(Buffer.from(content)).toEqual(await readFile(join(folder, name)));
    for (const name of Object.keys(other)) await expect(lstat(join(folder, name))).rejects.toThrow(/ENOENT/);
  });

  it('asks no more than needed when all is there', async () => {
    const folder = await hub.download();
    hub.server.requests.length = 0;
    expect(await hub.download()).toBe(folder);
    expect(hub.server.requests.map(({ url }) => url.split('?')[0])).toEqual([`/api/models/${ID}/revision/main`]);
    hub.server.requests.length = 0;
    expect(await hub.download({ revision: COMMIT })).toBe(folder);
    expect(hub.server.requests).toEqual([]);
  });

  it('follows a branch that moved, and shares the blobs that did not change', async () => {
    await hub.download();
    const commits = { [COMMIT]: model, [NEXT]: { ...model, 'config.json': text('{"model_type":"qwen2"}') } };
    hub.server.repos.set(ID, { commits, refs: { main: NEXT } });
    hub.server.requests.length = 0;
    const folder = await hub.download();
    expect(folder).toBe(join(hub.repoFolder, 'snapshots', NEXT));
    expect(hub.server.contentRequests.map(({ url }) => url)).toEqual([`/${ID}/resolve/${NEXT}/config.json`]);
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toContain('qwen2');
    expect(await readFile(join(hub.repoFolder, 'refs', 'main'), 'utf8')).toBe(NEXT);
  });

  it('takes revisions with slashes', async () => {
    const folder = await hub.download({ revision: 'refs/pr/1' });
    expect(folder).toContain(COMMIT);
    expect(await hub.download({ revision: 'refs/pr/1', offline: true })).toBe(folder);
  });

  it('fetches the shards that the index names, and knows the total before the first byte', async () => {
    const one = safetensorsFile({ a: f32([1], [1]) });
    const two = safetensorsFile({ b: f32([2], [2, 3]) });
    const files = {
      'config.json': text('{}'),
      'model.safetensors.index.json': text('{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}'),
      'm-1.safetensors': large(one),
      'm-2.safetensors': large(two),
      'm-3.safetensors': large(new Uint8Array(5)),
      'consolidated.safetensors': large(new Uint8Array(6)),
    };
    hub.server.repos.set(ID, { commits: { [COMMIT]: files }, refs: { main: COMMIT } });
    const events: HubProgress[] = [];
    const folder = await hub.download({ onProgress: (progress) => events.push(progress) });
    const names = ['config.json', 'model.safetensors.index.json', 'm-1.safetensors', 'm-2.safetensors'] as const;
    expect((await readdir(folder)).sort()).toEqual([...names].sort());
    const total = names.reduce((sum, name) => sum + files[name].content.length, 0);
    expect(new Set(events.map((event) => event.total))).toEqual(new Set([total]));
    expect(events.at(-1)).toMatchObject({
      file: 'm-2.safetensors',
      bytes: total,
      fileBytes: two.length,
      fileTotal: two.length,
    });
    const checkpoint = await openCheckpointFolder(folder);
    expect(checkpoint.tensors.size).toBe(2);
    await checkpoint.close();
    // Without a tokenizer in the repository nothing is missing either.
    expect(await hub.download({ offline: true })).toBe(folder);
    await rm(join(folder, 'm-2.safetensors'));
    expect((await hub.refusal({ offline: true })).message).toContain('it lacks m-2.safetensors');
  });

  it('refuses an index whose shards are missing or outside', async () => {
    const withIndex = (shard: string) => ({
      'config.json': text('{}'),
      'model.safetensors.index.json': text(JSON.stringify({ weight_map: { a: shard } })),
    });
    hub.server.repos.set(ID, { commits: { [COMMIT]: withIndex('m-1.safetensors') }, refs: { main: COMMIT } });
    expect((await hub.refusal()).message).toContain('has no m-1.safetensors');
    hub.server.repos.set(ID, { commits: { [NEXT]: withIndex('../../x.safetensors') }, refs: { main: NEXT } });
    await expect(hub.download()).rejects.toThrow(/leaves the folder/);
  });

  it('fetches exactly the files that were asked for', async () => {
    const folder = await hub.download({ files: ['README.md', 'onnx/model.onnx'] });
    expect(await readFile(join(folder, 'onnx', 'model.onnx'))).toHaveLength(12);
    expect(await readlink(join(folder, 'onnx', 'model.onnx'))).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\//);
    expect((await readdir(folder)).sort()).toEqual(['README.md', 'onnx']);
    expect((await hub.refusal({ files: ['nope.json'] })).message).toContain('has no nope.json');
    expect((await hub.refusal({ files: ['../x'] })).message).toContain('leaves the folder');
  });

  it('tells progress that never shrinks and ends at the total', async () => {
    const events: HubProgress[] = [];
    await hub.download({ onProgress: (progress) => events.push(progress) });
    for (let i = 1; i < events.length; i++) expect(events[i].bytes).toBeGreaterThanOrEqual(events[i - 1].bytes);
    const last = events.at(-1)!;
    expect(last.bytes).toBe(last.total);
    expect(new Set(events.map(({ file }) => file))).toEqual(
      new Set(['config.json', 'tokenizer.json', 'model.safetensors']),
    );
  });
});

describe('without network', () => {
  it('the cache is used, by branch and by commit', async () => {
    const folder = await hub.download();
    await hub.server.close();
    expect(await hub.download()).toBe(folder);
    expect(await hub.download({ revision: COMMIT })).toBe(folder);
    expect(await hub.download({ offline: true })).toBe(folder);
    expect(await hub.download({ env: { HF_HUB_OFFLINE: '1' } })).toBe(folder);
    await rm(join(hub.repoFolder, 'refs'), { recursive: true });
    expect(await hub.download({ revision: COMMIT, offline: true })).toBe(folder);
    expect((await hub.refusal({ offline: true })).message).toMatch(
      /Offline mode is on, and org\/tiny at revision main/,
    );
    expect((await hub.refusal({ retries: 0 })).message).toMatch(/connection to .* failed: .*ECONNREFUSED/);
  });

  it('the cache is used where the hub is broken', async () => {
    const folder = await hub.download();
    hub.server.faults.statuses = [502];
    expect(await hub.download()).toBe(folder);
  });

  it('offline mode sends nothing, and knows when files are missing', async () => {
    expect((await hub.refusal({ env: { HF_HUB_OFFLINE: 'yes' } })).message).toContain('is not in the cache');
    const folder = await hub.download();
    await rm(hub.blobOf('model.safetensors'));
    hub.server.requests.length = 0;
    expect((await hub.refusal({ offline: true })).message).toContain('it lacks model.safetensors');
    expect(hub.server.requests).toEqual([]);
    expect(await hub.download()).toBe(folder);
    expect((await lstat(join(folder, 'model.safetensors'))).isSymbolicLink()).toBe(true);
  });

  it('a cache that Python made is used', async () => {
    const folder = join(hub.repoFolder, 'snapshots', NEXT);
    await mkdir(folder, { recursive: true });
    await mkdir(join(hub.repoFolder, 'refs'));
    await writeFile(join(hub.repoFolder, 'refs', 'main'), NEXT);
    await writeFile(join(folder, 'config.json'), '{}');
    await writeFile(join(folder, 'model.safetensors'), weights);
    expect(await hub.download({ offline: true })).toBe(folder);
  });
});
