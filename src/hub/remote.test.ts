import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMIT, ID, large, text, useHub } from '../../test/support/hub-fixture.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { checkpointFromFiles } from '../checkpoint/open.ts';
import { openCheckpoint, writeGguf } from '../exports/checkpoint-node.ts';
import { HubError } from '../util/errors.ts';
import { withRemoteGguf } from './remote-node.ts';

const hub = useHub();
const path = join(await tempFolder('remote'), 'm.gguf');
const tiny = await openCheckpoint('keyhold/tiny');
await writeGguf(tiny, path, { weights: 'q8_0' });
await tiny.close();
const content = await readFile(path);

function serve(files: Readonly<Record<string, Uint8Array>>): void {
  const all = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, large(bytes)]));
  hub.server.repos.set(ID, { commits: { [COMMIT]: { 'README.md': text('#'), ...all } }, refs: { main: COMMIT } });
}

const options = () => ({ endpoint: hub.server.endpoint, retryDelayMs: 1 });

/** What its header says; and the bytes of the file that were asked for. */
async function look(model: string) {
  hub.server.requests.length = 0;
  const found = await withRemoteGguf(model, options(), async ({ files, file }) => {
    const { config, tensors, readJson } = await checkpointFromFiles(files, file);
    return { file, config, tensors, tokenizer: await readJson('tokenizer.json') };
  });
  const ranges = hub.server.contentRequests.map(({ range }) => /^bytes=(\d+)-(\d+)$/.exec(range ?? ''));
  const bytes = ranges.reduce((sum, range) => sum + (range ? Number(range[2]) - Number(range[1]) + 1 : Number.NaN), 0);
  return { found, bytes };
}

describe('GGUF models of the hub that are not downloaded', () => {
  it.each([`${ID}:Q8_0`, `${ID}/sub/m-Q8_0.gguf`, ID])('are known by their header: %s', async (model) => {
    serve({ 'sub/m-Q8_0.gguf': content });
    const { found, bytes } = await look(model);
    expect(found).toMatchObject({ file: 'm-Q8_0.gguf', config: { model_type: 'llama', num_hidden_layers: 6 } });
    expect(found!.tensors.get('model.embed_tokens.weight')).toMatchObject({ format: 'q8_0', shape: [4096, 256] });
    expect(found!.tokenizer).toHaveProperty('model');
    // The redirect to the store is one of the requests.
    expect(bytes).toBeLessThan(content.length);
  });

  it('are null where a repository holds something else', async () => {
    serve({ 'config.json': new TextEncoder().encode('{}'), 'model.safetensors': new Uint8Array(64) });
    expect((await look(ID)).found).toBeNull();
  });

  it('are asked for again where a connection breaks', async () => {
    serve({ 'm-Q8_0.gguf': content });
    hub.server.faults.dropAfter = [1000, 10];
    expect((await look(`${ID}:Q8_0`)).found).toMatchObject({ config: { num_hidden_layers: 6 } });
  });

  it('are refused where the server sends no ranges, or has no such file', async () => {
    serve({ 'm-Q8_0.gguf': content });
    await expect(look(`${ID}:Q2_K`)).rejects.toThrow(HubError);
    hub.server.faults.ignoreRange = true;
    await expect(look(`${ID}:Q8_0`)).rejects.toThrow(
      /sends no parts of files, so the model has to be downloaded first/,
    );
  });
});
