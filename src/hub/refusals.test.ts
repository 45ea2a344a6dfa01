import { open, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { COMMIT, ID, large, model, NEXT, text, useHub } from '../../test/support/hub-fixture.ts';

const hub = useHub();

describe('wrong content', () => {
  it('is refused by its checksum, and not kept', async () => {
    hub.server.faults.wrongBytes = true;
    expect((await hub.refusal()).message).toMatch(/config\.json: the checksum is wrong/);
    hub.server.faults.wrongBytes = false;
    await hub.download({ files: ['config.json', 'tokenizer.json'] });
    hub.server.faults.wrongBytes = true;
    expect((await hub.refusal()).message).toMatch(/model\.safetensors: the checksum is wrong/);
    expect((await readdir(join(hub.repoFolder, 'blobs'))).filter((name) => name.includes('incomplete'))).toEqual([]);
  });

  it('is refused where the hub announces another than it lists', async () => {
    hub.server.faults.wrongEtag = true;
    expect((await hub.refusal()).message).toMatch(/other content/);
  });

  it('is refused where it is longer than listed', async () => {
    hub.server.faults.extraSize = -1;
    expect((await hub.refusal()).message).toMatch(/more than the \d+ bytes/);
  });

  it('is refused where it is shorter than listed, after a bounded number of tries', async () => {
    hub.server.faults.extraSize = 10;
    expect((await hub.refusal()).message).toMatch(/config\.json: the (connection ended|hub.server can't continue)/);
    expect(hub.server.contentRequests).toHaveLength(3);
  });

  it('never writes outside of the snapshot', async () => {
    for (const path of ['../evil.json', '/evil.json', 'a\\..\\evil.json', 'a/../../evil']) {
      hub.server.faults.extraEntries = [{ type: 'file', path, size: 1, oid: '0'.repeat(40) }];
      expect((await hub.refusal()).message).toContain(JSON.stringify(path));
    }
    hub.server.faults.extraEntries = [{ type: 'file', path: 'x', size: 1, oid: '../../evil' }];
    expect((await hub.refusal()).message).toMatch(/no usable checksum/);
    for (const entry of [null, 5, { type: 'file' }, { type: 'file', path: 'x', size: '1' }]) {
      hub.server.faults.extraEntries = [entry];
      expect((await hub.refusal()).message).toMatch(/malformed/);
    }
    expect(await readdir(hub.cacheDir)).toEqual([]);
  });

  it('from captive portals is told as such', async () => {
    hub.server.faults.portal = '<html>log in</html>';
    expect((await hub.refusal()).message).toMatch(/not what the hub sends/);
    hub.server.faults.portal = '{}';
    expect((await hub.refusal()).message).toMatch(/names no commit/);
    expect((await hub.refusal({ revision: COMMIT })).message).toMatch(/not what the hub sends/);
  });
});

describe('refusals', () => {
  it('tell apart repository, revision and file', async () => {
    expect(await hub.refusal({}, 'org/none')).toMatchObject({
      status: 404,
      message: expect.stringContaining('org/none: no such repository'),
    });
    expect((await hub.refusal({ revision: 'v9' })).message).toContain('has no revision "v9"');
    expect((await hub.refusal({ revision: NEXT })).message).toContain('has no revision');
    const { 'config.json': _, ...rest } = model;
    hub.server.repos.set(ID, { commits: { [COMMIT]: rest }, refs: { main: COMMIT } });
    expect((await hub.refusal()).message).toContain('there is no config.json; it says');
    hub.server.repos.set(ID, { commits: { [COMMIT]: { 'adapter_config.json': text('{}') } }, refs: { main: COMMIT } });
    expect((await hub.refusal()).message).toContain('org/tiny: is an adapter, not a model');
  });

  it('tell what to do about other formats', async () => {
    const only = (file: string) => {
      const files = { 'config.json': text('{}'), [file]: large(new Uint8Array(3)) };
      hub.server.repos.set(ID, { commits: { [COMMIT]: files }, refs: { main: COMMIT } });
    };
    only('pytorch_model.bin');
    expect((await hub.refusal()).message).toMatch(/convert them to safetensors/);
    only('onnx/model.onnx');
    expect((await hub.refusal()).message).toMatch(/ONNX's format \(onnx\/model\.onnx\), which is not read; take the/);
    only('consolidated.safetensors');
    expect((await hub.refusal()).message).toMatch(/consolidated\.safetensors, but neither/);
  });

  it('explain gated repositories and tokens', async () => {
    hub.server.repos.set(ID, { commits: { [COMMIT]: model }, refs: { main: COMMIT }, gated: 'hf_secret' });
    const closed = await hub.refusal();
    expect(closed).toMatchObject({ status: 401 });
    expect(closed.message).toContain(`accept its terms at ${hub.server.endpoint}/${ID}`);
    expect(closed.message).toContain('set HF_TOKEN');
    expect((await hub.refusal({ token: 'hf_other' })).status).toBe(403);
    hub.server.requests.length = 0;
    await hub.download({ env: { HF_TOKEN: ' hf_secret\n' } });
    // The store for large files is another host: it must not learn the token.
    for (const { host, authorization } of hub.server.requests) {
      expect(authorization).toBe(host === 'hub' ? 'Bearer hf_secret' : undefined);
    }
    expect(hub.weightRequests()).toHaveLength(1);
  });

  it('come before any request for names that are none', async () => {
    for (const id of [
      '',
      '..',
      'a/..',
      '../a',
      'a/b/c',
      '/a',
      'a/',
      'a b',
      'a\\b',
      'org/na..me',
      '.hidden',
      'a--b',
      'x'.repeat(97),
      'a/b?c',
      'https://x/y',
    ]) {
      expect((await hub.refusal({}, id)).message).toContain('is not a repository id');
    }
    for (const revision of ['', '..', 'a/../b', '/etc', 'a b', 'a\\b', 'x?y', 'a:b']) {
      expect((await hub.refusal({ revision })).message).toContain('is not a revision');
    }
    expect(hub.server.requests).toEqual([]);
  });

  it('come before the first byte where the disk is too small, and name the folder', async () => {
    hub.server.faults.extraSize = 1e15;
    const { message } = await hub.refusal();
    expect(message).toMatch(/3000000\.\d\d GB are to be downloaded/);
    expect(message).toContain(hub.cacheDir);
    expect(hub.server.contentRequests).toEqual([]);
  });

  it('keep what came where the disk fills up meanwhile', async () => {
    const probe = await open(join(hub.cacheDir, 'probe'), 'w');
    const prototype = Object.getPrototypeOf(probe) as { write: (...args: unknown[]) => Promise<unknown> };
    await probe.close();
    const write = prototype.write;
    let left = 100_000;
    const spy = vi.spyOn(prototype, 'write').mockImplementation(function (this: unknown, ...args: unknown[]) {
      left -= (args[0] as Uint8Array).length;
      if (left < 0) return Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' }));
      return write.apply(this, args);
    });
    expect((await hub.refusal()).message).toMatch(/the disk is full.*is kept/);
    spy.mockRestore();
    const have = (await stat(hub.partialOf('model.safetensors'))).size;
    expect(have).toBeGreaterThan(0);
    hub.server.requests.length = 0;
    await hub.download();
    expect(hub.weightRequests()[0].range).toBe(`bytes=${have}-`);
  });

  it('say where the cache is no folder', async () => {
    await writeFile(join(hub.cacheDir, 'file'), 'x');
    expect((await hub.refusal({ cacheDir: join(hub.cacheDir, 'file') })).message).toMatch(/HF_HUB_CACHE/);
  });
});
