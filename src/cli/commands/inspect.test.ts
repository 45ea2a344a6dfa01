import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { startHubOf, TINY_COMMIT } from '../../../test/support/hub-models.ts';
import type { HubServer } from '../../../test/support/hub-server.ts';
import { openCheckpoint, writeGguf } from '../../exports/checkpoint-node.ts';

describe('keyhold inspect', () => {
  it('shows what the small model is', async () => {
    const { code, stdout, stderr } = await keyhold(['inspect']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('keyhold/tiny  llama, 5.28M parameters');
    expect(stdout).toMatch(/layers +6\n/);
    expect(stdout).toMatch(/tensors +56, 10\.6 MB of BF16\n/);
    expect(stdout).toMatch(/sampling +do_sample true, temperature 0\.8, top_p 0\.95\n/);
    expect(stdout).toMatch(/float32 +21\.1 MB +12\.6 MB +33\.7 MB +← auto\n/);
    expect(stdout).toMatch(/int4 +3\.(31|97) MB/);
    expect(stdout).toContain('A token takes 3,072 bytes of keys and values.');
    expect(stdout).not.toContain('model.layers.0');
  });

  it('plans memory for a context and a cache', async () => {
    const { stdout } = await keyhold(['inspect', '--context', '100000', '--cache-length', '512']);
    expect(stdout).toContain('Memory for 100,000 tokens');
    expect(stdout).toMatch(/int8 +(5\.62 MB +1\.57 MB +7\.19|7\.39 MB +1\.57 MB +8\.97) MB/);
    expect(stdout).toContain('The lastrec cache keeps 512 tokens; a dense one would take 307 MB.');
  });

  it('lists tensors, windows and experts', async () => {
    expect((await keyhold(['inspect', '--tensors'])).stdout).toMatch(/model\.norm\.weight +BF16 +\[256\] +512 bytes\n/);
    const gemma = (await keyhold(['inspect', 'test/fixtures/families/gemma3'])).stdout;
    expect(gemma).toMatch(/window +8 tokens in 4 of 6 layers\n/);
    expect(gemma).toMatch(/bytes of keys and values, \d+ beyond the window\./);
    expect(gemma).toMatch(/tokenizer +none/);
    expect((await keyhold(['inspect', 'test/fixtures/families/mixtral'])).stdout).toMatch(
      /width .* experts of .* a token/,
    );
  });

  it('--json says it in numbers', async () => {
    const { stdout } = await keyhold(['inspect', '--json', '--context', '1000']);
    expect(stdout.split('\n')).toHaveLength(2);
    expect(JSON.parse(stdout)).toMatchObject({
      config: { name: 'llama', nLayer: 6 },
      plan: { parameters: 5_278_976, format: 'float32', contextLength: 1000, cache: 3_072_000, perToken: 3072 },
      hasTokenizer: true,
      tensors: expect.arrayContaining([{ name: 'model.norm.weight', dtype: 'BF16', shape: [256], bytes: 512 }]),
    });
  });

  it('shows the calibration that is kept, which calibrate draws', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'inspect-'));
    try {
      vi.stubEnv('KEYHOLD_CACHE', folder);
      expect((await keyhold(['inspect'])).stdout).not.toContain('Calibration');
      await writeFile(join(folder, 'text.txt'), 'In the beginning God created the heaven and the earth. '.repeat(20));
      const plot = join(folder, 'map.svg');
      const args = ['calibrate', '--text', join(folder, 'text.txt'), '--length', '64', '--plot', plot];
      const made = await keyhold(args);
      expect(made.code).toBe(0);
      expect((await readFile(plot, 'utf8')).split('<title>')).toHaveLength(1 + 6 * 2);
      const { stdout } = await keyhold(['inspect']);
      expect(stdout).toMatch(/Calibration\n {2}group 0 +[·░▒▓█]{6}\n {2}group 1 +[·░▒▓█]{6}\n/);
      expect(stdout).toContain(made.stdout);
      const odd = join(folder, 'map.jpg');
      expect(await keyhold(['calibrate', '--plot', odd])).toMatchObject({ code: 2, stdout: '' });
    } finally {
      vi.unstubAllEnvs();
      await rm(folder, { recursive: true });
    }
  });

  it('refuses two models, and what is none', async () => {
    expect(await keyhold(['inspect', 'models/tiny', '-m', 'models/tiny'])).toMatchObject({ code: 2, stdout: '' });
    expect((await keyhold(['inspect', '-m', './models/tiny'])).code).toBe(0);
    const { code, stderr } = await keyhold(['inspect', './models']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: \.\/models: is no model: there is no config\.json/);
  });
});

describe('keyhold inspect on the hub', () => {
  let hub: HubServer;
  let home: string;
  beforeEach(async () => {
    hub = await startHubOf('org/tiny');
    home = await mkdtemp(join(tmpdir(), 'keyhold-inspect-'));
    vi.stubEnv('HF_HOME', home);
    vi.stubEnv('HF_ENDPOINT', hub.endpoint);
    vi.stubEnv('HF_HUB_OFFLINE', '');
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await hub.close();
    await rm(home, { recursive: true, force: true });
  });

  it('fetches no more than config.json', async () => {
    const { code, stdout } = await keyhold(['inspect', 'org/tiny']);
    expect(code).toBe(0);
    expect(stdout).toContain('org/tiny  llama, 5.28M parameters');
    expect(stdout).toContain('not downloaded');
    expect(hub.contentRequests.map(({ url }) => url.split('/').at(-1))).toEqual(['config.json']);
  });

  it('reads the Infinity that Python writes into config.json, as loading does', async () => {
    const config = await readFile('test/fixtures/more-families/mamba2/config.json');
    expect(config.toString()).toContain('Infinity');
    const commits = { [TINY_COMMIT]: { 'config.json': { content: config } } };
    hub.repos.set('org/mamba', { commits, refs: { main: TINY_COMMIT } });
    const { code, stdout, stderr } = await keyhold(['inspect', 'org/mamba']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('org/mamba  mamba2');
  });

  it('fetches the header of a GGUF file', async () => {
    const path = join(home, 'tiny.gguf');
    const checkpoint = await openCheckpoint('keyhold/tiny');
    await writeGguf(checkpoint, path, { weights: 'q8_0' });
    await checkpoint.close();
    const files = { 'tiny-Q8_0.gguf': { content: await readFile(path), lfs: true } };
    hub.repos.set('org/gguf', { commits: { [TINY_COMMIT]: files }, refs: { main: TINY_COMMIT } });
    for (const model of ['org/gguf:Q8_0', 'org/gguf']) {
      const { code, stdout } = await keyhold(['inspect', model, '--tensors']);
      expect(code).toBe(0);
      expect(stdout).toMatch(/model\.layers\.0\.mlp\.up_proj\.weight +q8_0 +\[704, 256\]/);
      expect((await keyhold(['estimate', model])).code).toBe(0);
    }
    expect(hub.contentRequests.every(({ range }) => range !== undefined)).toBe(true);
  });

  it('looks at what was downloaded before, without asking again', async () => {
    await keyhold(['download', 'org/tiny']);
    hub.requests.length = 0;
    expect((await keyhold(['inspect', 'org/tiny'])).stdout).toMatch(/tensors +56/);
    expect(hub.requests).toEqual([]);
  });

  it('says where it looked', async () => {
    const { code, stderr } = await keyhold(['inspect', 'models/tony']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/no such repository at http.*There is no file or folder models\/tony here/);
    expect((await keyhold(['inspect', 'org/tony'])).stderr).toContain('There is no file or folder org/tony here');
    expect((await keyhold(['inspect', 'org/tiny', '--offline'])).stderr).toMatch(/Offline mode is on/);
  });
});
